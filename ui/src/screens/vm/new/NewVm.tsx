// Makes a VM: step by step, its place explained, checked before it is done.

import { Breadcrumb, BreadcrumbItem, Button, PageSection } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate } from 'react-router';
import { useActs } from '../../../parts/acts';
import { Nothing } from '../../../parts/feedback';
import { PageTitle } from '../../../parts/PageTitle';
import { Steps, type Step } from '../../../parts/Steps';
import { useDraft } from '../../../parts/useDraft';
import { mayNot } from '../../../rules/may';
import { useUser } from '../../../shell/user';
import { Basics, BASICS } from './Basics';
import { EMPTY, KEPT, params, ready, type Draft } from './draft';
import { Hardware, HARDWARE } from './Hardware';
import { Origins } from './Origins';
import { Placing } from './Placing';
import { Review } from './Review';

export interface StepProps {
  draft: Draft;
  set(part: Partial<Draft>): void;
}

export default function NewVm() {
  const { t } = useTranslation();
  const user = useUser();
  const navigate = useNavigate();
  const { run, copy } = useActs();
  const at = useDraft(EMPTY, KEPT);
  const { draft, set } = at;
  const [busy, setBusy] = useState(false);
  const act = { method: 'vm.create' as const, params: params(draft), title: t('Create {{name}}', { name: draft.name }) };
  const why = mayNot(user, 'vm.create');
  if (why) return <Nothing title={t('You cannot create VMs')}>{t(why)}</Nothing>;
  const create = async () => {
    setBusy(true);
    const started = await run(act);
    setBusy(false);
    if (started) void navigate(started.object ? `/vms/${started.object}` : `/tasks/${started.task}`);
  };
  const props = { draft, set };
  const steps: Step[] = [
    { id: 'basics', name: t('Name and kind'), ready: ready.basics(draft), form: BASICS, body: <Basics {...props} /> },
    { id: 'hardware', name: t('Hardware'), ready: ready.hardware(draft), form: HARDWARE, body: <Hardware {...props} /> },
    { id: 'place', name: t('Placement'), ready: true, body: <Placing {...props} /> },
    { id: 'review', name: t('Review'), ready: true, body: <Review {...props} /> },
  ];
  const finish = (
    <>
      <Button isLoading={busy} isDisabled={busy} onClick={() => void create()}>
        {t('Create')}
      </Button>
      <Button variant="secondary" onClick={() => copy(act)}>
        {t('Copy as …')}
      </Button>
    </>
  );
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <Breadcrumb aria-label={t('Where this is')}>
        <BreadcrumbItem render={({ className }) => <Link className={className} to="/vms">{t('Virtual machines')}</Link>} />
        <BreadcrumbItem isActive>{t('Create a VM')}</BreadcrumbItem>
      </Breadcrumb>
      <PageTitle>{t('Create a VM')}</PageTitle>
      <Origins />
      <Steps steps={steps} at={at} finish={finish} leave={() => void navigate('/vms')} />
    </PageSection>
  );
}
