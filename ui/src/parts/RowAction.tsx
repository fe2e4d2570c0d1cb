import { Button, Tooltip } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';

interface Props {
  label: string;
  /** Of the row, for who does not see it. */
  name: string;
  why?: string;
  danger?: boolean;
  go(): void;
}

/** The one thing that can be done with a row. */
export function RowAction({ label, name, why, danger, go }: Props) {
  const { t } = useTranslation();
  const button = (
    <Button variant="link" isInline isDanger={danger && !why} isAriaDisabled={!!why} aria-label={`${label}: ${name}`} onClick={why ? undefined : go}>
      {label}
    </Button>
  );
  return why ? <Tooltip content={t(why)}>{button}</Tooltip> : button;
}
