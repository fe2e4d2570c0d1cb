import { Button } from '@patternfly/react-core';
import CopyIcon from '@patternfly/react-icons/dist/esm/icons/copy-icon';
import { useTranslation } from 'react-i18next';
import { useActs, type Act } from './acts';

/** Beside a button that stands alone: what it does, as a command. In a menu, the menu has it. */
export function CopyButton({ act, label }: { act: Act; label: string }) {
  const { t } = useTranslation();
  const { copy } = useActs();
  return <Button variant="plain" icon={<CopyIcon />} aria-label={t('Copy as a command: {{verb}}', { verb: label })} onClick={() => copy(act)} />;
}
