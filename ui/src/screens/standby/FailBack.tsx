// The way back, or a planned move: the VM is shut down, backed up once more, and its standby starts with that.

import { Checkbox } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Standby } from '../../api/generated';
import { NumberField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { TypeName } from '../../parts/TypeName';

/** As the API has it where nothing is said. */
const DEADLINE_S = 120;
const LONGEST_MINUTES = 24 * 60;

export function FailBack({ standby, close }: { standby: Standby; close: () => void }) {
  const { t } = useTranslation();
  const [minutes, setMinutes] = useState(DEADLINE_S / 60);
  const [force, setForce] = useState(false);
  const [typed, setTyped] = useState('');
  const names = { name: standby.name, of: standby.of_name ?? '' };
  const seconds = Math.round(minutes * 60);
  return (
    <FormDialog
      act={{ method: 'standby.fail_back', params: { standby: standby.vm, ...(seconds === DEADLINE_S ? {} : { deadline_s: seconds }), ...(force ? { force } : {}) }, title: t('Fail back to {{name}}', names) }}
      button={t('Fail back')}
      ready={typed === standby.name && seconds > 0}
      close={close}
      about={t('{{of}} is shut down and backed up once more; {{name}} is brought to that and started. {{of}} stands by from then on. When it cannot be finished, {{of}} is started again.', names)}
    >
      <NumberField id="back-minutes" label={t('Minutes that the guest may take to shut down')} value={minutes} set={setMinutes} min={1} max={LONGEST_MINUTES} />
      <Checkbox id="back-force" label={t('Power it off when it does not')} isChecked={force} onChange={(_event, on) => setForce(on)} />
      <TypeName id="back-name" name={standby.name} value={typed} set={setTyped} />
    </FormDialog>
  );
}
