import { ClipboardCopy } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';

/** An id, to be read and copied. */
export function Id({ id }: { id: string }) {
  const { t } = useTranslation();
  return (
    <ClipboardCopy variant="inline-compact" isCode hoverTip={t('Copy')} clickTip={t('Copied')}>
      {id}
    </ClipboardCopy>
  );
}
