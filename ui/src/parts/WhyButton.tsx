// A button that says why it cannot be pressed: to the pointer and to the keys, which a `title` does not, and to who hears
// the page.

import { Button, Tooltip, type ButtonProps } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';

interface Props extends Omit<ButtonProps, 'isAriaDisabled' | 'onClick' | 'title'> {
  /** Marked with `msg`; without it, it can be pressed. */
  why?: string;
  go(): void;
}

export function WhyButton({ why, go, ...rest }: Props) {
  const { t } = useTranslation();
  if (!why) return <Button {...rest} onClick={go} />;
  return (
    <Tooltip content={t(why)}>
      <Button {...rest} isAriaDisabled aria-description={t(why)} />
    </Tooltip>
  );
}
