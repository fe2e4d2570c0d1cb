// What can be done with a template.

import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import type { Template } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';

/** `choose` opens the form about its fragments. */
export function useTemplateVerbs(choose: (template: Template) => void) {
  const { t } = useTranslation();
  const user = useUser();
  const navigate = useNavigate();
  return (template: Template, deleted?: () => void): Verb[] => {
    const place = { pool: template.pool };
    return [
      { label: t('Deploy'), go: () => void navigate(`/templates/${template.id}/deploy`), why: mayNot(user, 'template.deploy', place) ?? (template.ready ? undefined : msg('Its disks are not complete yet.')) },
      { label: t('Choose its fragments'), go: () => choose(template), why: mayNot(user, 'template.set_fragments', place), note: t('What cloud-init is told in each VM made from it.') },
      {
        label: t('Delete'),
        danger: true,
        why: mayNot(user, 'template.delete', place),
        act: { method: 'template.delete', params: { template: template.id }, title: t('Delete the template {{name}}', { name: template.name }) },
        question: { text: t('VMs that were made from it stay as they are.'), button: t('Delete'), typeName: template.name, done: deleted },
      },
    ];
  };
}
