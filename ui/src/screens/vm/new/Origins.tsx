// What a VM can be made from beside nothing: each has a form of its own, which is gone to.

import { Button } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate } from 'react-router';
import { useAll } from '../../../list/all';
import { ChoiceField } from '../../../parts/fields';
import { mayNot } from '../../../rules/may';
import { useUser } from '../../../shell/user';

export function Origins() {
  const { t } = useTranslation();
  const user = useUser();
  const navigate = useNavigate();
  const [chosen, choose] = useState('');
  const templates = (useAll('template.list', {}).data ?? []).filter(({ ready }) => ready);
  const others: [string, string][] = [
    ...(mayNot(user, 'backup.restore') ? [] : ([['/backups', t('a backup')]] as [string, string][])),
    ...(mayNot(user, 'import.upload') ? [] : ([['/imports/upload', t('a file of this computer')]] as [string, string][])),
    ...(mayNot(user, 'import.start') ? [] : ([['/imports/new', 'VMware']] as [string, string][])),
  ];
  return (
    <div className="x-gap x-origins" role="group" aria-label={t('Or from what is there')}>
      {templates.length > 0 && (
        <>
          <ChoiceField id="vm-template" label={t('From a template')} value={chosen} set={choose} options={templates.map(({ id, name }) => [id, name])} none={t('None: as described below')} />
          {chosen && (
            <Button variant="secondary" onClick={() => void navigate(`/templates/${chosen}/deploy`)}>
              {t('Use the template')}
            </Button>
          )}
        </>
      )}
      {others.length > 0 && (
        <p className="x-labels">
          <span className="x-dim">{t('Or from:')}</span>
          {others.map(([to, label]) => (
            <Link key={to} to={to}>
              {label}
            </Link>
          ))}
        </p>
      )}
    </div>
  );
}
