// One's own two-factor sign-in: set up with an authenticator app, confirmed with its first code, turned off with the
// password. Secret and recovery codes are shown once.

import { Button, Card, CardBody, CardTitle, ClipboardCopy, Content, Label, ModalBody, ModalFooter, ModalHeader } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { refresh } from '../../api/client';
import type { TotpEnrolment, User } from '../../api/generated';
import { download } from '../../list/columns';
import { Alert } from '../../parts/Alert';
import { TextField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { Modal } from '../../parts/Modal';
import { QrCode } from '../../parts/QrCode';
import { useUser } from '../../shell/user';

type Step = { at: 'password' } | { at: 'code'; enrolment: TotpEnrolment } | { at: 'recovery'; codes: string[] } | { at: 'off' };

export function SecondFactor({ user }: { user: User }) {
  const { t } = useTranslation();
  const [step, setStep] = useState<Step>();
  const [given, setGiven] = useState('');
  const close = () => (setStep(undefined), setGiven(''));
  // Who had to set it up when the page was opened finds everything open now.
  const kept = useUser().totp_due ? () => location.assign('/') : close;
  const go = (next: Step) => (setGiven(''), setStep(next));
  const password = <TextField id="factor-password" type="password" label={t('Your password')} value={given} set={setGiven} required autoFocus />;
  return (
    <Card isCompact>
      <CardTitle component="h2">
        {t('Two-factor sign-in')} {user.totp && <Label isCompact color="green">{t('on')}</Label>}
      </CardTitle>
      <CardBody>
        <Content component="p">
          {user.totp
            ? t('Signing in asks for a code of your authenticator app after the password. API tokens are not asked.')
            : t('Besides your password, signing in then asks for a code of an authenticator app on your phone. Who learns your password alone cannot come in.')}
        </Content>
        {user.totp ? (
          <Button variant="secondary" isDanger onClick={() => go({ at: 'off' })}>
            {t('Turn off')}
          </Button>
        ) : (
          <Button variant="secondary" onClick={() => go({ at: 'password' })}>
            {t('Set up')}
          </Button>
        )}
      </CardBody>
      {step?.at === 'password' && (
        <FormDialog
          secret
          act={{ method: 'user.totp_enrol', params: { password: given }, title: t('Make a secret for your authenticator app') }}
          button={t('Go on')}
          ready={given !== ''}
          close={close}
          done={(enrolment) => go({ at: 'code', enrolment })}
        >
          {password}
        </FormDialog>
      )}
      {step?.at === 'code' && (
        <FormDialog
          secret
          act={{ method: 'user.totp_confirm', params: { code: given }, title: t('Turn two-factor sign-in on') }}
          button={t('Turn on')}
          ready={given.trim() !== ''}
          close={close}
          done={({ codes }) => (refresh('auth'), go({ at: 'recovery', codes }))}
          about={t('Let your authenticator app read this picture, or type the secret into it. It is shown only now.')}
        >
          <QrCode text={step.enrolment.uri} label={t('The secret as a QR code')} />
          <ClipboardCopy isReadOnly isCode hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('Secret')}>
            {step.enrolment.secret}
          </ClipboardCopy>
          <TextField id="factor-code" label={t('Code that the app shows now')} value={given} set={setGiven} required autoFocus help={t('Your other sessions end.')} />
        </FormDialog>
      )}
      {step?.at === 'recovery' && <Recovery codes={step.codes} name={user.name} close={kept} />}
      {step?.at === 'off' && (
        <FormDialog
          secret
          act={{ method: 'user.totp_disable', params: { password: given }, title: t('Turn two-factor sign-in off') }}
          button={t('Turn off')}
          ready={given !== ''}
          close={close}
          done={() => refresh('auth')}
          about={t('Your password alone signs in then. The recovery codes are worth nothing any more.')}
        >
          {password}
        </FormDialog>
      )}
    </Card>
  );
}

function Recovery({ codes, name, close }: { codes: string[]; name: string; close: () => void }) {
  const { t } = useTranslation();
  const text = codes.join('\n');
  return (
    <Modal isOpen variant="small" onClose={close} aria-labelledby="recovery-title">
      <ModalHeader title={t('Recovery codes')} labelId="recovery-title" />
      <ModalBody tabIndex={0} aria-labelledby="recovery-title">
        <Alert isInline variant="warning" className="x-gap" title={t('They are shown only now. Put them on paper.')}>
          {t('Each signs in once without the app. Who has lost the app and the codes needs an administrator.')}
        </Alert>
        <pre className="x-mono">{text}</pre>
      </ModalBody>
      <ModalFooter>
        <Button onClick={close}>{t('I have kept them')}</Button>
        <Button variant="secondary" onClick={() => download(`xenith-recovery-${name}.txt`, `${text}\n`, 'text/plain;charset=utf-8')}>
          {t('Save as a file')}
        </Button>
      </ModalFooter>
    </Modal>
  );
}
