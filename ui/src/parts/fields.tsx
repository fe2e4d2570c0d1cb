// Fields of forms that several screens have.

import { FormGroup, FormHelperText, FormSelect, FormSelectOption, HelperText, HelperTextItem, NumberInput, TextArea, TextInput } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { useRead } from '../api/client';
import { useAll } from '../list/all';

/** Sorted, each once. */
export function words(text: string): string[] {
  return [...new Set(text.split(/[\s,]+/).filter(Boolean))].sort();
}

interface NumberProps {
  id: string;
  label: string;
  value: number;
  set(value: number): void;
  min?: number;
  max?: number;
  step?: number;
  help?: string;
}

export function NumberField({ id, label, value, set, min = 0, max = Number.MAX_SAFE_INTEGER, step = 1, help }: NumberProps) {
  const { t } = useTranslation();
  const within = (value: number) => Math.min(max, Math.max(min, value));
  const wrong = within(value) !== value;
  return (
    <FormGroup label={label} fieldId={id}>
      <NumberInput
        value={value}
        min={min}
        max={max}
        inputProps={{ id, 'aria-describedby': help ? helpOf(id) : undefined }}
        validated={wrong ? 'error' : 'default'}
        inputAriaLabel={label}
        minusBtnAriaLabel={t('Less')}
        plusBtnAriaLabel={t('More')}
        onMinus={() => set(within(value - step))}
        onPlus={() => set(within(value + step))}
        onChange={(event) => set(Number((event.target as HTMLInputElement).value))}
        onBlur={() => set(within(value))}
      />
      {help && <Help id={helpOf(id)}>{help}</Help>}
    </FormGroup>
  );
}

/** Of what is said under a field: read out with it. */
const helpOf = (id: string) => `${id}-help`;

export function Help({ children, wrong, id }: { children: React.ReactNode; wrong?: boolean; id?: string }) {
  return (
    <FormHelperText id={id}>
      <HelperText>
        <HelperTextItem variant={wrong ? 'error' : 'default'}>{children}</HelperTextItem>
      </HelperText>
    </FormHelperText>
  );
}

interface TextProps {
  id: string;
  label: string;
  value: string;
  set(value: string): void;
  required?: boolean;
  help?: string;
  /** Why it is not right. */
  wrong?: string;
  type?: 'text' | 'password';
  placeholder?: string;
  autoFocus?: boolean;
}

export function TextField({ id, label, value, set, required, help, wrong, type = 'text', placeholder, autoFocus }: TextProps) {
  const bad = value !== '' && wrong;
  return (
    <FormGroup label={label} fieldId={id} isRequired={required}>
      <TextInput
        id={id}
        type={type}
        value={value}
        placeholder={placeholder}
        autoFocus={autoFocus}
        autoComplete={type === 'password' ? 'new-password' : 'off'}
        isRequired={required}
        validated={bad ? 'error' : 'default'}
        aria-describedby={bad || help ? helpOf(id) : undefined}
        onChange={(_event, value) => set(value)}
      />
      {(bad || help) && <Help id={helpOf(id)} wrong={!!bad}>{bad || help}</Help>}
    </FormGroup>
  );
}

interface ChoiceProps {
  id: string;
  label: string;
  value: string;
  set(value: string): void;
  options: [value: string, label: string][];
  /** What an empty value means; without it there is none. */
  none?: string;
  /** An empty value will not do. */
  required?: boolean;
  help?: string;
}

export function ChoiceField({ id, label, value, set, options, none, required, help }: ChoiceProps) {
  return (
    <FormGroup label={label} fieldId={id} isRequired={required}>
      <FormSelect id={id} value={value} isRequired={required} aria-describedby={help ? helpOf(id) : undefined} onChange={(_event, value) => set(value)}>
        {none !== undefined && <FormSelectOption value="" label={none} />}
        {options.map(([value, label]) => (
          <FormSelectOption key={value} value={value} label={label} />
        ))}
      </FormSelect>
      {help && <Help id={helpOf(id)}>{help}</Help>}
    </FormGroup>
  );
}

export function usePoolOptions(): [string, string][] {
  const pools = useAll('pool.list', {});
  return (pools.data ?? []).map((pool) => [pool.id, pool.name]);
}

export function useHostOptions(): [string, string][] {
  const hosts = useRead('host.list', { limit: 1000 });
  return (hosts.data?.items ?? []).map((host) => [host.id, host.name]);
}

export function useNetworkOptions(): [string, string][] {
  const networks = useAll('network.list', {});
  return (networks.data ?? []).map((network) => [network.id, `${network.name} (${network.bridge})`]);
}

/** The SRs that a host has attached, beside its own. */
export function useSrOptions(host: string): [string, string][] {
  const srs = useAll('sr.list', {});
  return (srs.data ?? []).filter((sr) => sr.spec && sr.hosts.includes(host)).map((sr) => [sr.id, sr.name]);
}

/** As the API takes names of VMs. */
export const VM_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** Why a name will not do, in words; nothing when it will. */
export function useVmNameProblem(name: string): string | undefined {
  const { t } = useTranslation();
  return VM_NAME.test(name) ? undefined : t('Letters, digits, dots, hyphens and underscores; 63 at most, a letter or digit first.');
}

export function AreaField({ id, label, value, set, required, help, wrong, placeholder, rows = 6 }: Omit<TextProps, 'type' | 'autoFocus'> & { rows?: number }) {
  const bad = value !== '' && wrong;
  return (
    <FormGroup label={label} fieldId={id} isRequired={required}>
      <TextArea
        id={id}
        value={value}
        rows={rows}
        placeholder={placeholder}
        isRequired={required}
        validated={bad ? 'error' : 'default'}
        resizeOrientation="vertical"
        spellCheck={false}
        className="x-mono"
        aria-describedby={bad || help ? helpOf(id) : undefined}
        onChange={(_event, value) => set(value)}
      />
      {(bad || help) && <Help id={helpOf(id)} wrong={!!bad}>{bad || help}</Help>}
    </FormGroup>
  );
}
