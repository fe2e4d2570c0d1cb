// The chosen VMs in waves that fit into migration windows: how long each takes, what limits it, which hosts of the source
// come free; and all of them kept, to be begun one after the other.

import { Button, ExpandableSection, Form, Grid, List, ListItem } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../../api/client';
import type { ImportPlan } from '../../../api/generated';
import { Bulk } from '../../../list/Bulk';
import { Alert } from '../../../parts/Alert';
import { ErrorBox, Loading } from '../../../parts/feedback';
import { NumberField, TextField } from '../../../parts/fields';
import { useFormat } from '../../../parts/format';
import { WaitsFor } from '../../../parts/WaitsFor';
import { plannedWave, USUAL_LIMITS, wavePlanParams, type ImportDraft, type WaveLimits } from './draft';

export function Waves({ draft }: { draft: ImportDraft }) {
  const { t } = useTranslation();
  const [open, setOpen] = useState(false);
  return (
    <ExpandableSection className="x-above" toggleText={t('In waves that fit into migration windows')} isExpanded={open} onToggle={(_event, now) => setOpen(now)}>
      {open && <Planned draft={draft} />}
    </ExpandableSection>
  );
}

function Planned({ draft }: { draft: ImportDraft }) {
  const { t } = useTranslation();
  const [limits, setLimits] = useState<WaveLimits>(USUAL_LIMITS);
  // The source is read for each plan: not with each key.
  const [asked, setAsked] = useState<WaveLimits>(USUAL_LIMITS);
  const read = useRead('import.plan', wavePlanParams(draft, asked));
  const set = (part: Partial<WaveLimits>) => setLimits((before) => ({ ...before, ...part }));
  return (
    <>
      <Form
        className="x-gap"
        onSubmit={(event) => {
          event.preventDefault();
          setAsked(limits);
        }}
      >
        <Grid hasGutter sm={4}>
          <NumberField id="waves-window" label={t('Hours of a window')} value={limits.window} set={(window) => set({ window })} min={1} max={72} />
          <NumberField id="waves-most" label={t('VMs in a wave')} value={limits.most} set={(most) => set({ most })} min={1} max={1000} />
          <NumberField id="waves-line" label={t('The line carries (MiB/s)')} value={limits.line} set={(line) => set({ line })} min={1} max={100_000} help={t('Measure it.')} />
        </Grid>
        <div>
          <Button type="submit" variant="secondary" isDisabled={JSON.stringify(limits) === JSON.stringify(asked)}>
            {t('Plan again')}
          </Button>
        </div>
      </Form>
      {read.isPending ? <Loading lines={3} /> : read.isError ? <ErrorBox error={read.error} retry={() => void read.refetch()} /> : <Result draft={draft} plan={read.data} />}
    </>
  );
}

function Result({ draft, plan }: { draft: ImportDraft; plan: ImportPlan }) {
  const { t } = useTranslation();
  const format = useFormat();
  const [prefix, setPrefix] = useState('');
  const [keeping, setKeeping] = useState(false);
  const late = plan.waves.filter((wave) => wave.exceeds_window);
  if (plan.waves.length === 0) return <p className="x-dim">{t('None of them can be moved as it is.')}</p>;
  return (
    <>
      {late.length > 0 && (
        <Alert isInline variant="warning" className="x-gap" title={t('More than a window: {{waves}}', { waves: late.map(({ number }) => number).join(', ') })}>
          {t('A VM takes longer than a window even alone. Let it follow the source, and cut over when little is left.')}
        </Alert>
      )}
      <Table variant="compact" aria-label={t('The plan in waves')}>
        <Thead>
          <Tr>
            <Th>{t('Wave')}</Th>
            <Th>{t('VMs')}</Th>
            <Th>{t('To move')}</Th>
            <Th>{t('How long')}</Th>
            <Th>{t('Limited by')}</Th>
          </Tr>
        </Thead>
        <Tbody>
          {plan.waves.map((wave) => (
            <Tr key={wave.number}>
              <Td dataLabel={t('Wave')}>{wave.number}</Td>
              <Td dataLabel={t('VMs')} className="x-wrap">
                {wave.vms.join(', ')}
              </Td>
              <Td dataLabel={t('To move')}>{format.mib(wave.transfer_mib)}</Td>
              <Td dataLabel={t('How long')}>
                {format.duration(wave.seconds)}
                <span className="x-dim x-block">{t('{{best}} to {{worst}}', { best: format.duration(wave.best_seconds), worst: format.duration(wave.worst_seconds) })}</span>
              </Td>
              <Td dataLabel={t('Limited by')}>
                <code>{wave.narrowest}</code>
              </Td>
            </Tr>
          ))}
        </Tbody>
      </Table>
      <List isPlain className="x-above">
        {plan.freed.map((freed) => (
          <ListItem key={freed.after_wave}>{t('After wave {{wave}} these hosts of the source are free: {{hosts}}', { wave: freed.after_wave, hosts: freed.hosts.join(', ') })}</ListItem>
        ))}
        {plan.notes.map((note) => (
          <ListItem key={note} className="x-dim">
            {note}
          </ListItem>
        ))}
      </List>
      <Form id="waves-keep" className="x-above" onSubmit={(event) => event.preventDefault()}>
        <TextField id="waves-name" label={t('Name of the waves')} value={prefix} set={setPrefix} required placeholder="move" help={t('Each gets its number behind it.')} />
        <div className="x-labels">
          <Button variant="secondary" isDisabled={prefix.trim() === ''} onClick={() => setKeeping(true)}>
            {t('Keep these waves')}
          </Button>
          <WaitsFor form="waves-keep" ready={prefix.trim() !== ''} />
        </div>
      </Form>
      {keeping && (
        <Bulk
          title={t('Keep these waves')}
          text={t('Nothing moves until the wave is begun.')}
          button={t('Create')}
          items={plan.waves.map((wave) => {
            const name = `${prefix.trim()}-${wave.number}`;
            return { id: String(wave.number), name, act: { method: 'wave.create', params: plannedWave(draft, prefix.trim(), wave), title: name } };
          })}
          close={() => setKeeping(false)}
        />
      )}
    </>
  );
}
