import { Button, Tooltip } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';

interface Props {
  label: string;
  /** Why not, marked with `msg`. */
  why?: string;
  secondary?: boolean;
  go(): void;
}

/** Makes what the screen lists; the key `c` presses it. */
export function CreateButton({ label, why, secondary, go }: Props) {
  const { t } = useTranslation();
  const button = (
    <Button variant={secondary ? 'secondary' : 'primary'} isAriaDisabled={!!why} onClick={why ? undefined : go} data-create>
      {label}
    </Button>
  );
  return why ? <Tooltip content={t(why)}>{button}</Tooltip> : button;
}
