import { Progress } from '@patternfly/react-core';
import { useFormat } from './format';

/** How much of something is used, with the numbers in words. */
export function Meter({ label, used, total, text }: { label: string; used: number; total: number; text: string }) {
  const format = useFormat();
  const ratio = total > 0 ? used / total : 0;
  const variant = ratio > 0.95 ? 'danger' : ratio > 0.85 ? 'warning' : undefined;
  return (
    <div className="x-meter">
      <Progress size="sm" title={label} value={ratio * 100} label={format.percent(ratio)} measureLocation="top" variant={variant} aria-label={label} />
      <span className="x-dim">{text}</span>
    </div>
  );
}
