import { useFormat } from './format';

/** How long ago, with the exact time behind it. */
export function Ago({ at }: { at: string | null | undefined }) {
  const format = useFormat();
  if (!at) return <>—</>;
  return (
    <time dateTime={at} title={format.date(at)}>
      {format.ago(at)}
    </time>
  );
}
