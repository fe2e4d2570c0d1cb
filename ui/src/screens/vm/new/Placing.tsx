// Where it will go and why: the orchestrator's own choice, explained before anything is made.

import { Checkbox, FormGroup, Label, List, ListItem, Radio } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../../api/client';
import { Alert } from '../../../parts/Alert';
import { ErrorBox, Loading } from '../../../parts/feedback';
import { useFormat } from '../../../parts/format';
import type { VmRow } from '../../../api/generated';
import type { StepProps } from './NewVm';

const without = (list: string[], these: string[]) => list.filter((one) => !these.includes(one));

function Fellows({ label, id, vms, chosen, set }: { label: string; id: string; vms: VmRow[]; chosen: string[]; set(chosen: string[]): void }) {
  return (
    <FormGroup role="group" label={label} className="x-above">
      {vms.map((vm) => (
        <Checkbox key={vm.id} id={`${id}-${vm.id}`} label={vm.name} isChecked={chosen.includes(vm.id)} onChange={(_event, on) => set(on ? [...chosen, vm.id] : without(chosen, [vm.id]))} />
      ))}
    </FormGroup>
  );
}

export function Placing({ draft, set }: StepProps) {
  const { t } = useTranslation();
  const format = useFormat();
  const tags = draft.tags.split(/[\s,]+/).filter(Boolean);
  const fellows = useRead('vm.list', { filter: tags[0] ? `tag:${tags[0]}` : '', limit: 8 }, { enabled: tags.length > 0 });
  const placement = useRead('vm.place', {
    memory: draft.start ? draft.memory : 1,
    vcpus: draft.vcpus,
    ...(draft.pool ? { pool: draft.pool } : {}),
    networks: draft.nics,
    vdis: draft.disks.flatMap((disk) => (disk.kind === 'there' && disk.vdi ? [disk.vdi] : [])),
    apart_from: draft.apart,
    together_with: draft.together,
  });
  if (placement.isPending) return <Loading />;
  if (placement.isError) return <ErrorBox error={placement.error} retry={() => void placement.refetch()} />;
  const { host: best, candidates } = placement.data;
  return (
    <>
      {!best && (
        <Alert isInline variant="danger" className="x-gap" title={candidates.length ? t('No host can take this VM') : t('There is no host yet')}>
          {t('Free memory on a host, end its maintenance, or ask for less.')}
        </Alert>
      )}
      <FormGroup role="radiogroup" label={t('Host')} fieldId="place-best" className="x-gap">
        <Radio id="place-best" name="place" label={t('The best one')} description={t('Chosen again when the VM is made: things may have changed by then.')} isChecked={draft.host === ''} onChange={() => set({ host: '' })} />
      </FormGroup>
      <Table variant="compact" aria-label={t('Hosts')}>
        <Thead>
          <Tr>
            <Th screenReaderText={t('Choose')} />
            <Th>{t('Host')}</Th>
            <Th>{t('Score')}</Th>
            <Th>{t('Why')}</Th>
          </Tr>
        </Thead>
        <Tbody>
          {candidates.map((candidate) => (
            <Tr key={candidate.host}>
              <Td>
                <Radio
                  id={`place-${candidate.host}`}
                  name="place"
                  aria-label={candidate.name}
                  isDisabled={candidate.score == null}
                  isChecked={draft.host === candidate.host}
                  onChange={() => set({ host: candidate.host })}
                />
              </Td>
              <Td dataLabel={t('Host')}>
                {candidate.name} {candidate.host === best && <Label isCompact color="green">{t('best')}</Label>}
              </Td>
              <Td dataLabel={t('Score')}>{candidate.score == null ? t('cannot') : format.number(candidate.score)}</Td>
              <Td dataLabel={t('Why')}>
                <List isPlain>
                  {candidate.reasons.map((reason) => (
                    <ListItem key={reason}>{reason}</ListItem>
                  ))}
                </List>
              </Td>
            </Tr>
          ))}
        </Tbody>
      </Table>
      {fellows.data && fellows.data.items.length > 0 && (
        <>
          <Fellows label={t('Rather not on one host with')} id="apart" vms={fellows.data.items} chosen={draft.apart} set={(apart) => set({ apart, together: without(draft.together, apart) })} />
          <Fellows label={t('Rather on one host with')} id="together" vms={fellows.data.items} chosen={draft.together} set={(together) => set({ together, apart: without(draft.apart, together) })} />
        </>
      )}
    </>
  );
}
