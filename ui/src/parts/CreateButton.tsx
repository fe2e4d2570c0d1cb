import { WhyButton } from './WhyButton';

interface Props {
  label: string;
  /** Why not, marked with `msg`. */
  why?: string;
  secondary?: boolean;
  go(): void;
}

/** Makes what the screen lists; the key `c` presses it. */
export function CreateButton({ label, why, secondary, go }: Props) {
  return (
    <WhyButton variant={secondary ? 'secondary' : 'primary'} why={why} go={go} data-create>
      {label}
    </WhyButton>
  );
}
