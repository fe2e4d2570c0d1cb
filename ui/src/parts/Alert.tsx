// An alert whose kind is said to who does not see its colour, in their language: PatternFly says it in English alone.

import { Alert as Plain, type AlertProps } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { msg } from '../i18n/msg';

const KIND: Record<NonNullable<AlertProps['variant']>, string> = {
  danger: msg('Error:'),
  warning: msg('Warning:'),
  success: msg('Success:'),
  info: msg('Information:'),
  custom: msg('Note:'),
};

export function Alert(props: AlertProps) {
  const { t } = useTranslation();
  return <Plain variantLabel={t(KIND[props.variant ?? 'custom'])} {...props} />;
}
