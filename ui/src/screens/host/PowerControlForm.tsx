// Where the power of a host is switched. The orchestrator asks there before it keeps anything.

import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Host, PowerControl, PowerControlKind, SetPowerControl } from '../../api/generated';
import { ChoiceField, TextField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { fingerprintOf, sameControl } from './controller';

interface Props {
  host: Host;
  known?: PowerControl;
  close(): void;
}

export function PowerControlForm({ host, known, close }: Props) {
  const { t } = useTranslation();
  const [kind, setKind] = useState<PowerControlKind>(known?.kind ?? 'redfish');
  const [address, setAddress] = useState(known?.address ?? '');
  const [user, setUser] = useState(known?.user ?? '');
  const [password, setPassword] = useState('');
  const [certificate, setCertificate] = useState(known?.fingerprint ?? '');
  const fingerprint = kind === 'redfish' ? fingerprintOf(certificate) : undefined;
  const place = { kind, address: address.trim(), user, fingerprint };
  const keeps = sameControl(known, place);
  const params: SetPowerControl = { host: host.id, ...place, ...(password ? { password } : {}) };
  return (
    <FormDialog
      act={{ method: 'host.set_power_control', params, title: t('Where the power of {{name}} is switched', { name: host.name }) }}
      button={t('Try it and keep it')}
      ready={place.address !== '' && user !== '' && (kind === 'ipmi' || !!fingerprint) && (password !== '' || keeps)}
      close={close}
      hidden={['password']}
      about={t('The management controller of this host and of no other: what it switches off is taken for this host. It has to answer before anything is kept.')}
    >
      <ChoiceField id="power-kind" label={t('By')} value={kind} set={(value) => setKind(value as PowerControlKind)} options={[['redfish', 'Redfish'], ['ipmi', 'IPMI']]} help={kind === 'ipmi' ? t('Needs the package ipmitool where the orchestrator runs.') : undefined} />
      <TextField id="power-address" label={t('Address')} value={address} set={setAddress} required autoFocus placeholder="bmc1.example.org" help={t('A name or an IP address, with a port where it is not the usual one.')} />
      {kind === 'redfish' && (
        <TextField
          id="power-certificate"
          label={t('SHA-256 of its certificate')}
          value={certificate}
          set={setCertificate}
          required
          wrong={fingerprint ? undefined : t('64 hexadecimal digits, with or without colons.')}
          help={`openssl s_client -connect ${address.trim() || 'bmc1.example.org'}:443 </dev/null | openssl x509 -noout -fingerprint -sha256`}
        />
      )}
      <TextField id="power-user" label={t('Signs in as')} value={user} set={setUser} required />
      <TextField id="power-password" label={t('Password')} type="password" value={password} set={setPassword} required={!keeps} help={keeps ? t('Empty: the one that is known stays.') : undefined} />
    </FormDialog>
  );
}
