// What the form of the mail server gathers, and the call that it becomes. What is refused here is what the orchestrator
// refuses (orchestrator/src/app/mail.rs), said beside the field.

import type { MailSecurity, MailSettings, SetMail } from '../../api/generated';
import { msg } from '../../i18n/msg';

export interface MailDraft {
  server: string;
  /** As it is typed; empty: the usual one. */
  port: string;
  security: MailSecurity;
  user: string;
  /** Empty: the one that is known. */
  password: string;
  from: string;
  authority: string;
}

export const USUAL_PORT: Record<MailSecurity, number> = { starttls: 587, tls: 465, none: 25 };

export function fromMail(settings: MailSettings): MailDraft {
  const { server, port, security, user, from, authority_pem: authority } = settings;
  return { server, port: port === 0 || port === USUAL_PORT[security] ? '' : String(port), security, user, password: '', from, authority };
}

const portOf = ({ port }: MailDraft): number => Number(port.trim() || 0);

/** Whether the password that is known is that of this server, user and these certificates. */
export function keepsPassword(settings: MailSettings, draft: MailDraft): boolean {
  const port = portOf(draft) || USUAL_PORT[draft.security];
  return settings.has_password && settings.server === draft.server.trim() && settings.port === port && settings.user === draft.user && settings.authority_pem === draft.authority;
}

export type MailProblems = Partial<Record<'server' | 'port' | 'user' | 'password' | 'from', string>>;

/** What will not do, marked with `msg`. */
export function mailProblems(settings: MailSettings, draft: MailDraft): MailProblems {
  const port = portOf(draft);
  const found: MailProblems = {
    server: /[\s/]/.test(draft.server.trim()) || draft.server.length > 253 ? msg('A name or an address, without a scheme.') : undefined,
    port: Number.isInteger(port) && port >= 0 && port <= 65_535 ? undefined : msg('A number from 1 to 65535.'),
    user: draft.security === 'none' && draft.user ? msg('Nobody signs in over a connection that is not private.') : draft.password && !draft.user ? msg('Say whose password this is.') : undefined,
    password: draft.user && !draft.password && !keepsPassword(settings, draft) ? msg('None is known for this server, user and these certificates.') : undefined,
    from: /[^@\s<]+@[^@\s>]+/.test(draft.from) ? undefined : msg('An address, such as Xenith <xenith@example.org>.'),
  };
  return Object.fromEntries(Object.entries(found).filter(([, why]) => why));
}

export function setMail(draft: MailDraft): SetMail {
  const { security, user, password, from, authority } = draft;
  return { server: draft.server.trim(), port: portOf(draft), security, user, ...(password ? { password } : {}), from: from.trim(), authority_pem: authority };
}

/** Nothing was changed. */
export const sameMail = (settings: MailSettings, draft: MailDraft): boolean => JSON.stringify(draft) === JSON.stringify(fromMail(settings));
