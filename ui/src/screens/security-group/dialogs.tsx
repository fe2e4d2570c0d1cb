// Forms about security groups: make one, replace the rules of one.

import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { SecurityGroup } from '../../api/generated';
import { AreaField, ChoiceField, Help, TextField, usePoolOptions } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { directionReady, fromRules, sameRules, toRules, WAYS, wrongRule, type Direction, type Way } from './rules';

interface DirectionProps {
  id: string;
  label: string;
  value: Direction;
  set(value: Direction): void;
}

function DirectionField({ id, label, value, set }: DirectionProps) {
  const { t } = useTranslation();
  const wrong = wrongRule(value.text);
  return (
    <>
      <ChoiceField id={id} label={label} value={value.way} set={(way) => set({ ...value, way: way as Way })} options={Object.entries(WAYS).map(([way, text]): [string, string] => [way, t(text)])} />
      {value.way === 'listed' && (
        <>
          <AreaField
            id={`${id}-rules`}
            label={t('Rules: {{direction}}', { direction: label })}
            value={value.text}
            set={(text) => set({ ...value, text })}
            rows={4}
            placeholder={'tcp:80,443\ntcp:22 10.0.0.0/8\nany tag:web'}
            help={t('One a line: any, tcp, udp or icmp; ports such as 22,8000-8099; then an address, a network or tag:NAME. Everything else is dropped.')}
          />
          {wrong !== undefined && <Help wrong>{t('This is no rule: {{rule}}', { rule: wrong })}</Help>}
        </>
      )}
    </>
  );
}

export function CreateGroup({ close }: { close: () => void }) {
  const { t } = useTranslation();
  const pools = usePoolOptions();
  const [name, setName] = useState('');
  const [tag, setTag] = useState('');
  const [pool, setPool] = useState('');
  const [description, setDescription] = useState('');
  const [ingress, setIngress] = useState<Direction>({ way: 'listed', text: '' });
  const [egress, setEgress] = useState<Direction>({ way: 'open', text: '' });
  const params = { name, tag, description, ingress: toRules(ingress), egress: toRules(egress), ...(pool ? { pool } : {}) };
  return (
    <FormDialog
      act={{ method: 'security_group.create', params, title: t('Create a security group') }}
      button={t('Create')}
      ready={name !== '' && tag !== '' && directionReady(ingress) && directionReady(egress)}
      close={close}
      about={t('It holds at once, for running VMs too. Answers to what was allowed always pass.')}
    >
      <TextField id="group-name" label={t('Name')} value={name} set={setName} required autoFocus />
      <TextField id="group-tag" label={t('Tag')} value={tag} set={setTag} required help={t('The VMs of the pool with this tag are in it.')} />
      <DirectionField id="group-ingress" label={t('What may be sent to them')} value={ingress} set={setIngress} />
      <DirectionField id="group-egress" label={t('What they may send')} value={egress} set={setEgress} />
      <ChoiceField id="group-pool" label={t('Pool')} value={pool} set={setPool} options={pools} none={t('The pool default')} />
      <TextField id="group-description" label={t('Description')} value={description} set={setDescription} />
    </FormDialog>
  );
}

export function SetRules({ group, close }: { group: SecurityGroup; close: () => void }) {
  const { t } = useTranslation();
  const [ingress, setIngress] = useState(fromRules(group.ingress));
  const [egress, setEgress] = useState(fromRules(group.egress));
  return (
    <FormDialog
      act={{ method: 'security_group.set_rules', params: { group: group.id, ingress: toRules(ingress), egress: toRules(egress) }, title: t('Change the rules of {{name}}', { name: group.name }), undo: { method: 'security_group.set_rules', params: { group: group.id, ingress: group.ingress, egress: group.egress } } }}
      button={t('Change')}
      ready={directionReady(ingress) && directionReady(egress) && !sameRules(group, ingress, egress)}
      waits={t('Nothing is changed yet.')}
      close={close}
      about={t('It holds at once, for running VMs too. A rule that is taken away ends no connection that is established.')}
    >
      <DirectionField id="group-ingress" label={t('What may be sent to them')} value={ingress} set={setIngress} />
      <DirectionField id="group-egress" label={t('What they may send')} value={egress} set={setEgress} />
    </FormDialog>
  );
}
