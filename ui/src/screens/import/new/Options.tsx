// Where they go, and when they change over.

import { Checkbox, Form, FormGroup, FormSection, Radio, TextInput } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { ChoiceField, Help, NumberField, TextField, useHostOptions, useNetworkOptions, usePoolOptions } from '../../../parts/fields';
import { importReady, networksOf, type CutOver } from './draft';
import type { StepProps } from './NewImport';

/** The form, for who says what it waits for. */
export const OPTIONS = 'import-options-form';

export function Options({ draft, set }: StepProps) {
  const { t } = useTranslation();
  const pools = usePoolOptions();
  const hosts = useHostOptions();
  const networks = useNetworkOptions();
  const theirs = networksOf(draft.vms);
  const over = draft.at !== '' && !importReady(draft);
  const ways: [CutOver, string, string][] = [
    ['by-hand', t('When I say so'), t('It is copied while it runs there, then followed. The page of the import has the button.')],
    ['downtime', t('As soon as the pause is short enough'), t('When what changes between two passes is copied within so many seconds.')],
    ['at', t('At a time'), t('Such as tonight.')],
    ['now', t('As soon as it is copied'), ''],
  ];
  return (
    <Form id={OPTIONS} onSubmit={(event) => event.preventDefault()} className="x-form">
      <div className="x-columns">
        <FormSection title={t('Where to')} titleElement="h2">
          <ChoiceField id="import-pool" label={t('Pool')} value={draft.pool} set={(pool) => set({ pool })} options={pools} none={t('The pool default')} />
          <ChoiceField id="import-host" label={t('Host')} value={draft.host} set={(host) => set({ host })} options={hosts} none={t('The best one')} />
          {theirs.length > 0 && <Help>{t('What stands for their networks here:')}</Help>}
          {theirs.map((from, index) => (
            <ChoiceField
              key={from}
              id={`import-net-${index}`}
              label={from}
              value={draft.networks[from] ?? ''}
              set={(to) => set({ networks: { ...draft.networks, [from]: to } })}
              options={networks}
              none={t('None: leave these NICs out')}
            />
          ))}
          <TextField id="import-tags" label={t('Tags')} value={draft.tags} set={(tags) => set({ tags })} />
        </FormSection>
        <FormSection title={t('When')} titleElement="h2">
          <FormGroup role="radiogroup" fieldId="import-when" label={t('The source is shut down and the VM starts here')}>
            {ways.map(([way, label, text]) => (
              <Radio key={way} id={`import-when-${way}`} name="import-when" label={label} description={text || undefined} isChecked={draft.cutOver === way} onChange={() => set({ cutOver: way })} />
            ))}
          </FormGroup>
          {draft.cutOver === 'at' && (
            <FormGroup label={t('Time')} fieldId="import-at" isRequired>
              <TextInput id="import-at" type="datetime-local" isRequired value={draft.at} validated={over ? 'error' : 'default'} aria-describedby="import-at-help" onChange={(_event, at) => set({ at })} />
              <Help id="import-at-help" wrong={over}>
                {over ? t('This time is over.') : t('In your own time zone.')}
              </Help>
            </FormGroup>
          )}
          {draft.cutOver === 'downtime' && <NumberField id="import-downtime" label={t('Seconds')} value={draft.downtime} set={(downtime) => set({ downtime })} min={1} max={86_400} />}
          <FormGroup label={t('More')} role="group">
            <Checkbox id="import-start" label={t('Start it here at the end')} isChecked={draft.start} onChange={(_event, start) => set({ start })} />
            <Checkbox id="import-verify" label={t('Compare all of both sides first')} description={t('Reads everything once more while both are off: safe, and a longer pause.')} isChecked={draft.verify} onChange={(_event, verify) => set({ verify })} />
            <Checkbox id="import-force" label={t('Power the source off when its guest does not shut down in time')} isChecked={draft.force} onChange={(_event, force) => set({ force })} />
          </FormGroup>
        </FormSection>
      </div>
    </Form>
  );
}
