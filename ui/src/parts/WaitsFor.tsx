// Which fields a form waits for, beside the button that cannot be pressed yet. They are found in the form itself: those
// that have to be filled in and are empty, those that are marked as wrong, and groups of which one has to be chosen.

import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';

interface Props {
  /** The id of the form. */
  form: string;
  /** Nothing is said of one that is. */
  ready: boolean;
  /** What is said where no field is missing or wrong. */
  otherwise?: string;
}

type Field = HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement;

/** Without the asterisk. */
const textOf = (label: Element | undefined) => (label?.querySelector('.pf-v6-c-form__label-text') ?? label)?.textContent?.trim();

/** The names of the fields, as they stand before them. */
export function missing(form: HTMLElement): string[] {
  const fields = [...form.querySelectorAll<Field>('input, textarea, select')];
  const waited = fields.filter((field) => (field.required && field.value.trim() === '') || field.getAttribute('aria-invalid') === 'true');
  const labels = [...form.querySelectorAll('label')];
  const names = waited.map((field) => textOf(labels.find(({ htmlFor }) => htmlFor !== '' && htmlFor === field.id)) ?? field.getAttribute('aria-label') ?? '');
  const groups = [...form.querySelectorAll('[role=group]')].filter((group) => group.querySelector('.pf-v6-c-form__label-required') && !group.querySelector('input:checked'));
  return [...new Set([...names, ...groups.map((group) => textOf(group) ?? '')].filter(Boolean))];
}

export function WaitsFor({ form: id, ready, otherwise }: Props) {
  const { t } = useTranslation();
  const [fields, setFields] = useState('');
  // After each change of the form: only then is in the page what it waits for.
  useEffect(() => {
    const form = ready ? null : document.getElementById(id);
    setFields(form ? missing(form).join(', ') : '');
  });
  if (ready) return null;
  const text = fields ? t('Still to be filled in or corrected: {{fields}}.', { fields }) : otherwise;
  return text ? <span className="x-dim x-waits">{text}</span> : null;
}
