// The name, or the number, that is typed before something is lost.

import { FormGroup, TextInput } from '@patternfly/react-core';
import { Trans, useTranslation } from 'react-i18next';

interface Props {
  id: string;
  name: string;
  value: string;
  set(value: string): void;
  autoFocus?: boolean;
  inputMode?: 'numeric';
}

export function TypeName({ id, name, value, set, autoFocus, inputMode }: Props) {
  const { t } = useTranslation();
  return (
    <FormGroup fieldId={id} isRequired label={<Trans t={t} defaults="Type <0>{{name}}</0> to go on" values={{ name }} components={[<strong key="0" />]} />}>
      {/* Wrong while it is not all there: that is what the button waits for, and said beside it. */}
      <TextInput id={id} value={value} isRequired autoFocus={autoFocus} autoComplete="off" inputMode={inputMode} aria-invalid={value !== '' && value !== name} onChange={(_event, typed) => set(typed)} />
    </FormGroup>
  );
}
