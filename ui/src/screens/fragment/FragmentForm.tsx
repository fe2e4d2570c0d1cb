// A fragment with its text: made, or changed. Its name and its pool stay.
//
// What is changed is what was here when the form opened: a change of somebody else is said, and does not take away what
// has been typed.

import { ActionGroup, Button, Form, PageSection } from '@patternfly/react-core';
import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { useRead } from '../../api/client';
import type { FragmentContents, MethodName } from '../../api/generated';
import { useActs, type Act } from '../../parts/acts';
import { Alert } from '../../parts/Alert';
import { Failed, Loading, Nothing } from '../../parts/feedback';
import { AreaField, ChoiceField, Help, TextField, usePoolOptions } from '../../parts/fields';
import { PageHead } from '../../parts/PageHead';
import { useUnsaved } from '../../parts/unsaved';
import { WaitsFor } from '../../parts/WaitsFor';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { KIND, kindOf, textProblem } from './kind';

const LIST = '/fragments';
const FORM = 'fragment-form';

export default function FragmentForm() {
  const { t } = useTranslation();
  const user = useUser();
  const { fragment: reference } = useParams();
  const why = mayNot(user, 'fragment.create');
  if (why) return <Nothing title={t('You cannot see what fragments say')}>{t(why)}</Nothing>;
  return reference ? <Change key={reference} reference={reference} /> : <Filled />;
}

function Change({ reference }: { reference: string }) {
  const read = useRead('fragment.get', { fragment: reference });
  const [held, hold] = useState<FragmentContents>();
  const { data, isFetching, isError } = read;
  // Not what was read long ago: a change of it would bring that back. Where it cannot be read again, that is all there is.
  useEffect(() => {
    if (data && !isFetching && !isError) hold((before) => before ?? data);
  }, [data, isFetching, isError]);
  if (held) return <Filled found={held} elsewhere={!!data && data.fragment.changed !== held.fragment.changed} />;
  return read.isError ? <Failed error={read.error} retry={() => void read.refetch()} /> : <Loading />;
}

/** What is not said stays as it is. */
function changeOf({ fragment, user_data: before }: FragmentContents, text: string, description: string) {
  return {
    fragment: fragment.id,
    ...(text !== before ? { user_data: text } : {}),
    ...(description !== fragment.description ? { description } : {}),
  };
}

function Filled({ found, elsewhere }: { found?: FragmentContents; elsewhere?: boolean }) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const pools = usePoolOptions();
  const { run, copy } = useActs();
  const [name, setName] = useState('');
  const [pool, setPool] = useState('');
  const [description, setDescription] = useState(found?.fragment.description ?? '');
  const [text, setText] = useState(found?.user_data ?? '#cloud-config\n');
  const [busy, setBusy] = useState(false);
  const [saved, setSaved] = useState(false);
  const change = found && changeOf(found, text, description);
  const act = (
    change
      ? {
          method: 'fragment.update',
          params: change,
          title: t('Change the fragment {{name}}', { name: found.fragment.name }),
          undo: { method: 'fragment.update', params: { fragment: found.fragment.id, user_data: found.user_data, description: found.fragment.description } },
        }
      : { method: 'fragment.create', params: { name, user_data: text, ...(description ? { description } : {}), ...(pool ? { pool } : {}) }, title: t('Create the fragment {{name}}', { name }) }
  ) as Act<MethodName>;
  const problem = textProblem(text);
  const kind = kindOf(text);
  const differs = change ? Object.keys(change).length > 1 : name !== '' || description !== '' || text !== '#cloud-config\n';
  const ready = !problem && (change ? differs : name !== '');
  useUnsaved(differs && !saved);
  const submit = async (event: React.FormEvent) => {
    event.preventDefault();
    if (!ready || busy) return;
    setBusy(true);
    const done = await run(act);
    setBusy(false);
    if (!done) return;
    setSaved(true);
    void navigate(LIST);
  };
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead up={[LIST, t('Fragments')]} title={found ? t('Change {{name}}', { name: found.fragment.name }) : t('Create a fragment')} below={found && <span>{t('VMs that were made with it stay as they are; those that are made from now on get what it says then.')}</span>} />
      {elsewhere && !busy && !saved && (
        <Alert isInline variant="warning" title={t('Somebody has changed it meanwhile')}>
          {t('What you save takes the place of theirs. Open it again to see what it says now.')}
        </Alert>
      )}
      <Form id={FORM} className="x-form" onSubmit={(event) => void submit(event)}>
        {!found && <TextField id="fragment-name" label={t('Name')} value={name} set={setName} required autoFocus placeholder="base" />}
        <AreaField
          id="fragment-text"
          label={t('Text')}
          value={text}
          set={setText}
          rows={18}
          required
          wrong={problem && t(problem)}
          help={t('Given to the guest as it is; ${name}, ${hostname} and the variables of a deployment in it are replaced. Who may make VMs in the pool may read it: a secret of one VM is better a variable.')}
        />
        {kind && (
          <Help>
            <strong>{t(KIND[kind].label)}.</strong> {t(KIND[kind].about)}
          </Help>
        )}
        {!found && <ChoiceField id="fragment-pool" label={t('Pool')} value={pool} set={setPool} options={pools} none={t('The pool default')} />}
        <TextField id="fragment-description" label={t('Description')} value={description} set={setDescription} />
        <ActionGroup>
          <Button type="submit" isDisabled={!ready} isLoading={busy}>
            {found ? t('Change') : t('Create')}
          </Button>
          <Button variant="secondary" isDisabled={!ready} onClick={() => copy(act)}>
            {t('Copy as …')}
          </Button>
          <Button variant="link" component={(props) => <Link {...props} to={LIST} />}>
            {t('Cancel')}
          </Button>
          <WaitsFor form={FORM} ready={ready} otherwise={found && t('Nothing is changed yet.')} />
        </ActionGroup>
      </Form>
    </PageSection>
  );
}
