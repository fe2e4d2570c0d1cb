// What can be done with an import now.

import { Button } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Import } from '../../api/generated';
import { useActs } from '../../parts/acts';
import { RowAction } from '../../parts/RowAction';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { CutOver } from './CutOver';
import { isOver } from './words';

export function ImportVerb({ row, large }: { row: Import; large?: boolean }) {
  const { t } = useTranslation();
  const user = useUser();
  const { run, ask } = useActs();
  const [cutting, setCutting] = useState(false);
  const why = mayNot(user, 'import.roll_back');
  const params = { import: row.id };
  const archive = () => void run({ method: 'import.archive', params, title: t('Archive the import of {{name}}', { name: row.name }) });
  const rollBack = () =>
    ask({
      method: 'import.roll_back',
      params,
      title: t('Roll back the import of {{name}}', { name: row.name }),
      text: t('The VM here and its disks go. The source is as it was before.'),
      button: t('Roll back'),
      typeName: row.name,
    });
  const prepare = (without: boolean, title: string) => () => void run({ method: 'import.prepare', params: { ...params, ...(without ? { without } : {}) }, title });
  const decisions = [
    { label: t('Try again'), go: prepare(false, t('Prepare the guest of {{name}} again', { name: row.name })) },
    { label: t('Go on without'), go: prepare(true, t('Take {{name}} as it was copied', { name: row.name })) },
  ];
  const verbs = [
    ...(row.phase === 'rolled-back' ? [] : [{ label: t('Roll back'), go: rollBack, danger: true }]),
    ...(isOver(row) && !row.archived ? [{ label: t('Archive'), go: archive, danger: false }] : []),
  ];
  if (!large) {
    const verb = verbs.at(-1);
    return verb ? <RowAction label={verb.label} name={row.name} why={why} danger={verb.danger} go={verb.go} /> : null;
  }
  const canCut = row.origin.kind === 'vsphere' && ['preparing', 'copying', 'following', 'waiting-for-shutdown'].includes(row.phase);
  const cut = canCut && (
    <Button isAriaDisabled={!!why} title={why && t(why)} onClick={why ? undefined : () => setCutting(true)}>
      {t('Cut over')}
    </Button>
  );
  const decide =
    row.phase === 'not-prepared' &&
    decisions.map(({ label, go }) => (
      <Button key={label} variant="secondary" isAriaDisabled={!!why} title={why && t(why)} onClick={why ? undefined : go}>
        {label}
      </Button>
    ));
  const buttons = verbs.map(({ label, go, danger }) => (
    <Button key={label} variant="secondary" isDanger={danger} isAriaDisabled={!!why} title={why && t(why)} onClick={why ? undefined : go}>
      {label}
    </Button>
  ));
  return (
    <>
      {cut}
      {decide}
      {buttons}
      {cutting && <CutOver row={row} close={() => setCutting(false)} />}
    </>
  );
}
