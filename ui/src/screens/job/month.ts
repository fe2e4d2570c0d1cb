// The days of a month, in whole weeks from Monday on, in the browser's time zone.

export interface Day {
  key: string;
  date: Date;
  inside: boolean;
  today: boolean;
  /** Whether this instant is in the day. */
  holds(at: string | null | undefined): boolean;
}

export function month(year: number, number: number, now = new Date()): Day[] {
  const first = new Date(year, number - 1, 1);
  const before = (first.getDay() + 6) % 7;
  const length = new Date(year, number, 0).getDate();
  const same = (a: Date, b: Date) => a.getFullYear() === b.getFullYear() && a.getMonth() === b.getMonth() && a.getDate() === b.getDate();
  return Array.from({ length: Math.ceil((before + length) / 7) * 7 }, (_, at): Day => {
    const date = new Date(year, number - 1, 1 + at - before);
    return {
      key: `${date.getMonth()}-${date.getDate()}`,
      date,
      inside: date.getMonth() === number - 1,
      today: same(date, now),
      holds: (instant) => !!instant && same(new Date(instant), date),
    };
  });
}

/** The filter that finds the runs begun in these days: a day more on either side, as the API's days are those of UTC. */
export function within(days: Day[]): string {
  const by = (date: Date, more: number) => {
    const near = new Date(date.getFullYear(), date.getMonth(), date.getDate() + more);
    return [near.getFullYear(), near.getMonth() + 1, near.getDate()].map((part) => String(part).padStart(2, '0')).join('-');
  };
  const [first, last] = [days[0], days[days.length - 1]];
  return first && last ? `started:${by(first.date, -1)}..${by(last.date, 1)}` : '';
}
