import { Label } from '@patternfly/react-core';
import CheckIcon from '@patternfly/react-icons/dist/esm/icons/check-icon';
import ExclamationIcon from '@patternfly/react-icons/dist/esm/icons/exclamation-circle-icon';
import QuestionIcon from '@patternfly/react-icons/dist/esm/icons/question-circle-icon';
import WarningIcon from '@patternfly/react-icons/dist/esm/icons/exclamation-triangle-icon';
import { useTranslation } from 'react-i18next';
import type { Sr } from '../../api/generated';
import { full } from './words';

// As the events `sr.filling` and `sr.full` have it (docs/storage.md).
const FILLING = 0.9;
const FULL = 0.97;

export function SrLabel({ sr }: { sr: Sr }) {
  const { t } = useTranslation();
  const used = full(sr);
  const [color, icon, text] = ((): ['red' | 'orange' | 'green' | 'grey', React.ReactNode, string] => {
    if (sr.problem) return ['red', <ExclamationIcon key="i" />, t('Not usable')];
    if (sr.hosts.length === 0) return ['grey', <QuestionIcon key="i" />, t('Not attached')];
    if (used === undefined) return ['grey', <QuestionIcon key="i" />, t('Not heard')];
    if (used > FULL) return ['red', <ExclamationIcon key="i" />, t('Full')];
    if (used > FILLING) return ['orange', <WarningIcon key="i" />, t('Filling up')];
    return ['green', <CheckIcon key="i" />, t('Usable')];
  })();
  return (
    <Label isCompact variant="outline" color={color} icon={icon} title={sr.problem ?? undefined}>
      {text}
    </Label>
  );
}
