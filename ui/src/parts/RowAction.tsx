import { WhyButton } from './WhyButton';

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
  return (
    <WhyButton variant="link" isInline isDanger={danger && !why} aria-label={`${label}: ${name}`} why={why} go={go}>
      {label}
    </WhyButton>
  );
}
