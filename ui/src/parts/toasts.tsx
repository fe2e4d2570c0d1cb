// Short messages in the corner. What went well goes by itself; what did not stays until it is read.

import { AlertActionCloseButton, AlertActionLink, AlertGroup } from '@patternfly/react-core';
import { createContext, useCallback, useContext, useMemo, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { ApiError, messageOf, nextStep } from '../api/errors';
import { Alert } from './Alert';

interface Toast {
  key?: string;
  variant: 'success' | 'danger' | 'info' | 'warning';
  title: string;
  text?: string;
  lines?: string[];
  look?: { label: string; go(): void };
}

interface Toasts {
  say(toast: Toast): void;
  fail(title: string, error: unknown): void;
}

const Context = createContext<Toasts | undefined>(undefined);

export function useToasts(): Toasts {
  const toasts = useContext(Context);
  if (!toasts) throw new Error('useToasts outside of ToastsProvider');
  return toasts;
}

const MOST = 5;
const READ_MS = 5_000;
/** With something to do in it: to be reached by the keyboard, too. It waits while it has the focus or the pointer. */
const REACH_MS = 10_000;

export function ToastsProvider({ children }: { children: React.ReactNode }) {
  const { t } = useTranslation();
  const [list, setList] = useState<(Toast & { key: string })[]>([]);
  const next = useRef(0);
  const drop = (key: string) => setList((list) => list.filter((toast) => toast.key !== key));
  const say = useCallback((toast: Toast) => {
    const key = toast.key ?? `toast-${next.current++}`;
    setList((list) => [{ ...toast, key }, ...list.filter((one) => one.key !== key)].slice(0, MOST));
  }, []);
  const fail = useCallback(
    (title: string, error: unknown) => {
      const lines = error instanceof ApiError ? (error.data.detail ?? []) : [];
      say({ variant: 'danger', title, text: `${messageOf(error, t)} ${t(nextStep(error))}`, lines });
    },
    [say, t],
  );
  const toasts = useMemo(() => ({ say, fail }), [say, fail]);
  return (
    <Context.Provider value={toasts}>
      {children}
      <AlertGroup isToast isLiveRegion aria-label={t('Messages')}>
        {list.map(({ key, variant, title, text, lines, look }) => (
          <Alert
            key={key}
            variant={variant}
            title={title}
            timeout={variant === 'success' || variant === 'info' ? (look ? REACH_MS : READ_MS) : false}
            onTimeout={() => drop(key)}
            actionClose={<AlertActionCloseButton aria-label={t('Close the message')} onClose={() => drop(key)} />}
            actionLinks={
              look && (
                <AlertActionLink
                  onClick={() => {
                    drop(key);
                    look.go();
                  }}
                >
                  {look.label}
                </AlertActionLink>
              )
            }
          >
            {text && <p className="x-wrap">{text}</p>}
            {lines?.map((line) => (
              <p key={line} className="x-wrap">
                {line}
              </p>
            ))}
          </Alert>
        ))}
      </AlertGroup>
    </Context.Provider>
  );
}
