// Takes VMs out of vSphere: from where, which, what speaks against it, where to and when.

import { Button, PageSection } from '@patternfly/react-core';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useLocation, useNavigate } from 'react-router';
import { refresh, useRead, useSocket } from '../../../api/client';
import { messageOf } from '../../../api/errors';
import type { SourceVm } from '../../../api/generated';
import { Failed, Loading, Nothing } from '../../../parts/feedback';
import { fieldsIn } from '../../../parts/kept';
import { PageHead } from '../../../parts/PageHead';
import { Steps, type Step } from '../../../parts/Steps';
import { useDraft } from '../../../parts/useDraft';
import { useActs } from '../../../parts/acts';
import { mayNot } from '../../../rules/may';
import { useUser } from '../../../shell/user';
import { Choose } from './Choose';
import { CHOSEN, EMPTY_IMPORT, importParams, importReady, keptOf, type ImportDraft } from './draft';
import { KeepWave } from './KeepWave';
import { Options, OPTIONS } from './Options';
import { Plan, type Begun } from './Plan';
import { Source } from './Source';

export interface StepProps {
  draft: ImportDraft;
  set(part: Partial<ImportDraft>): void;
}

export default function NewImport() {
  const { t } = useTranslation();
  const user = useUser();
  const { search } = useLocation();
  const [{ source = '', vms = [] }] = useState(() => fieldsIn(search, CHOSEN));
  const why = mayNot(user, 'import.start');
  // The address has their ids.
  const read = useRead('import.inventory', { source }, { enabled: !why && source !== '' && vms.length > 0 });
  if (why) return <Nothing title={t('You cannot take VMs out of vSphere')}>{t(why)}</Nothing>;
  if (read.isLoading) return <Loading />;
  if (read.isError && !read.data) return <Failed error={read.error} up={['/imports', t('Imports')]} retry={() => void read.refetch()} />;
  return <ImportWizard inventory={read.data} />;
}

/** `inventory` has those of which the address has the ids. */
function ImportWizard({ inventory }: { inventory: SourceVm[] | undefined }) {
  const { t } = useTranslation();
  const socket = useSocket();
  const navigate = useNavigate();
  const { copy } = useActs();
  const [begun, setBegun] = useState<Record<string, Begun>>();
  const kept = useMemo(() => keptOf(inventory ?? []), [inventory]);
  const at = useDraft(EMPTY_IMPORT, kept, { done: !!begun });
  const { draft } = at;
  const [keeping, setKeeping] = useState(false);
  const set = (part: Partial<ImportDraft>) => (at.set(part), setBegun(undefined));
  // One after the other: each reads the source once more, and is told on its own.
  const begin = async () => {
    setBegun({});
    for (const vm of draft.vms) {
      const one = await socket.call('import.start', importParams(draft, vm)).then(
        (started): Begun => ({ import: started.object ?? '' }),
        (error): Begun => ({ error: messageOf(error) }),
      );
      setBegun((before) => ({ ...before, [vm.id]: one }));
    }
    refresh('import', 'task');
  };
  const first = draft.vms[0];
  const props = { draft, set };
  const steps: Step[] = [
    { id: 'import-source', name: t('Source'), ready: draft.source !== '', waits: t('Choose where they come from.'), body: <Source {...props} /> },
    { id: 'import-vms', name: t('VMs'), ready: draft.vms.length > 0, waits: t('Choose at least one VM.'), body: <Choose {...props} /> },
    { id: 'import-options', name: t('Where and when'), ready: importReady(draft), form: OPTIONS, body: <Options {...props} /> },
    { id: 'import-plan', name: t('Plan'), ready: !begun, body: <Plan {...props} begun={begun} /> },
  ];
  const finish = (
    <>
      <Button isDisabled={!!begun} onClick={() => void begin()}>
        {t('Begin')}
      </Button>
      <Button variant="secondary" isDisabled={!!begun} onClick={() => setKeeping(true)}>
        {t('Keep them as a wave')}
      </Button>
      <Button variant="secondary" onClick={() => first && copy({ method: 'import.start', params: importParams(draft, first), title: t('Import {{name}}', { name: first.name }) })}>
        {t('Copy as …')}
      </Button>
    </>
  );
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead up={['/imports', t('Imports')]} title={t('Take VMs out of vSphere')} />
      <Steps steps={steps} at={at} finish={finish} leave={() => void navigate('/imports')} leaveLabel={begun && t('Close')} />
      {keeping && <KeepWave draft={draft} close={() => setKeeping(false)} />}
    </PageSection>
  );
}
