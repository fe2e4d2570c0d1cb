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
