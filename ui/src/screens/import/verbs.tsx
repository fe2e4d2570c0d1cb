// What can be done with an import now.

import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Import } from '../../api/generated';
import { useActs, type Act } from '../../parts/acts';
import { CopyButton } from '../../parts/CopyButton';
import { RowAction } from '../../parts/RowAction';
import type { Verb } from '../../parts/VerbMenu';
import { WhyButton } from '../../parts/WhyButton';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { CutOver } from './CutOver';
import { isOver } from './words';

/** What needs no form: to give it up, and to put it away. */
export function useImportVerbs() {
  const { t } = useTranslation();
  const why = mayNot(useUser(), 'import.roll_back');
  return (row: Import): Verb[] => {
    const params = { import: row.id };
    const rollBack: Verb = {
      label: t('Roll back'),
      danger: true,
      why,
      act: { method: 'import.roll_back', params, title: t('Roll back the import of {{name}}', { name: row.name }) },
      question: { text: t('The VM here and its disks go. The source is as it was before.'), button: t('Roll back'), typeName: row.name },
    };
    const archive: Verb = { label: t('Archive'), why, act: { method: 'import.archive', params, title: t('Archive the import of {{name}}', { name: row.name }) } };
    return [...(row.phase === 'rolled-back' ? [] : [rollBack]), ...(isOver(row) && !row.archived ? [archive] : [])];
  };
}

export function ImportVerb({ row, large }: { row: Import; large?: boolean }) {
  const { t } = useTranslation();
  const user = useUser();
  const { run, ask } = useActs();
  const [cutting, setCutting] = useState(false);
  const why = mayNot(user, 'import.roll_back');
  const params = { import: row.id };
  const prepare = (without: boolean, title: string): Act => ({ method: 'import.prepare', params: { ...params, ...(without ? { without } : {}) }, title });
  const decisions: Verb[] = [
    { label: t('Try again'), why, act: prepare(false, t('Prepare the guest of {{name}} again', { name: row.name })) },
    { label: t('Go on without'), why, act: prepare(true, t('Take {{name}} as it was copied', { name: row.name })) },
  ];
  const verbs = useImportVerbs()(row);
  const go = ({ act, question }: Verb) => {
    if (act && question) ask({ ...act, ...question });
    else if (act) void run(act);
  };
  if (!large) {
    const verb = verbs.at(-1);
    return verb ? <RowAction label={verb.label} name={row.name} why={why} danger={verb.danger} go={() => go(verb)} /> : null;
  }
  const canCut = row.origin.kind === 'vsphere' && ['preparing', 'copying', 'following', 'waiting-for-shutdown'].includes(row.phase);
  const cut = canCut && (
    <WhyButton why={why} go={() => setCutting(true)}>
      {t('Cut over')}
    </WhyButton>
  );
  const buttons = [...(row.phase === 'not-prepared' ? decisions : []), ...verbs].map((verb) => (
    <span key={verb.label} className="x-verb">
      <WhyButton variant="secondary" isDanger={verb.danger} why={why} go={() => go(verb)}>
        {verb.label}
      </WhyButton>
      {verb.act && <CopyButton act={verb.act} label={verb.label} />}
    </span>
  ));
  return (
    <>
      {cut}
      {buttons}
      {cutting && <CutOver row={row} close={() => setCutting(false)} />}
    </>
  );
}
