// API tokens: what scripts sign in with.

import { Button } from '@patternfly/react-core';
import KeyIcon from '@patternfly/react-icons/dist/esm/icons/key-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Binding, CreatedToken, Token } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { useAll } from '../../list/all';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useListState } from '../../list/state';
import { Nothing } from '../../parts/feedback';
import { NumberField, TextField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { useFormat } from '../../parts/format';
import { SecretDialog } from '../../parts/SecretDialog';
import { seesSecurity } from '../../rules/may';
import { VerbMenu, type Verb } from '../../parts/VerbMenu';
import { useUser } from '../../shell/user';
import { Bindings, BindingsField, complete } from '../user/Bindings';

const nameOf = (token: Token) => token.name;

export default function Tokens() {
  const { t } = useTranslation();
  const me = useUser();
  const format = useFormat();
  const [making, setMaking] = useState(false);
  const [created, setCreated] = useState<CreatedToken>();
  const secure = seesSecurity(me);
  const users = useAll('user.list', {}, { enabled: secure });
  const { wanted, bar, list } = useListState();
  const pages = usePages('token.list', wanted);
  const columns = useMemo((): Column<Token>[] => {
    const owner = (token: Token) => (token.user === me.id ? me.name : (users.data?.find(({ id }) => id === token.user)?.name ?? token.user));
    return [
      { key: 'name', header: msg('Name'), sort: 'name', cell: (token) => <strong>{token.name}</strong>, text: nameOf },
      { key: 'user', header: msg('User'), sort: 'user', width: 8, cell: owner, text: owner },
      {
        key: 'rights',
        header: msg('Rights'),
        wide: true,
        cell: (token) => (token.bindings.length ? <Bindings bindings={token.bindings} /> : t('all of its user')),
        text: (token) => token.bindings.map(({ role }) => role).join(' '),
      },
      { key: 'expires', header: msg('Ends'), sort: 'expires', width: 8, cell: (token) => <time dateTime={token.expires} title={format.date(token.expires)}>{format.ago(token.expires)}</time>, text: (token) => token.expires },
      { key: 'created', header: msg('Created'), sort: 'created', width: 11, wide: true, cell: (token) => format.stamp(token.created), text: (token) => token.created },
    ];
  }, [format, me, t, users.data]);
  const create = (
    <Button onClick={() => setMaking(true)} data-create>
      {t('Create a token')}
    </Button>
  );
  const verbs = (token: Token): Verb[] => [
    {
      label: t('Revoke'),
      danger: true,
      act: { method: 'token.revoke', params: { token: token.id }, title: t('Revoke the token {{name}}', { name: token.name }) },
      question: { text: t('What signs in with it is refused from now on.'), button: t('Revoke'), typeName: token.name },
    },
  ];
  const bulk = useBulk({ rows: pages.rows, id: (token) => token.id, name: nameOf, verbs });
  return (
    <>
      <ListView
        title={t('API tokens')}
        about={secure ? t('Everybody’s tokens: what scripts sign in with.') : t('Your tokens: what your scripts sign in with.')}
        noun="tokens"
        columns={columns}
        pages={pages}
        id={(token) => token.id}
        name={nameOf}
        {...list}
        {...bulk.list}
        query={<QueryBar {...bar} noun="token" label={t('Filter tokens')} placeholder={t('Filter: user:anna expires:<2027-01-01, or words')} />}
        create={create}
        actions={(token) => <VerbMenu name={token.name} verbs={verbs(token)} />}
        menu
        empty={
          <Nothing icon={KeyIcon} title={t('No tokens yet')}>
            {t('A script signs in with a token, not with your password. It never has more rights than you.')}
          </Nothing>
        }
      />
      {bulk.dialog}
      {making && <CreateToken close={() => setMaking(false)} done={setCreated} />}
      {created && (
        <SecretDialog
          title={t('The token {{name}}', { name: created.token.name })}
          warning={t('It is shown only now. Copy it to where the script keeps its secrets.')}
          label={t('Token')}
          secret={created.secret}
          close={() => setCreated(undefined)}
        />
      )}
    </>
  );
}

function CreateToken({ close, done }: { close: () => void; done(created: CreatedToken): void }) {
  const { t } = useTranslation();
  const [name, setName] = useState('');
  const [days, setDays] = useState(90);
  const [bindings, setBindings] = useState<Binding[]>([]);
  return (
    <FormDialog
      act={{ method: 'token.create', params: { name, days, bindings }, title: t('Create a token') }}
      button={t('Create')}
      ready={name !== '' && days >= 1 && complete(bindings)}
      close={close}
      done={done}
    >
      <TextField id="token-name" label={t('Name')} value={name} set={setName} required autoFocus help={t('What it is for, such as nightly-report.')} />
      <NumberField id="token-days" label={t('Works for (days)')} value={days} set={setDays} min={1} max={366} />
      <BindingsField bindings={bindings} set={setBindings} none={t('None chosen: all of your rights, as they are at each use.')} />
    </FormDialog>
  );
}
