// The course of what was measured, and how it goes on. The API has no subscription for it: the stretch is read once, and
// from then on only its end, as often as there may be something new.

import { useQuery, type UseQueryResult } from '@tanstack/react-query';
import { queries, useSocket } from '../../api/client';
import type { ApiError } from '../../api/errors';
import type { QueryMetrics } from '../../api/generated';
import type { Socket } from '../../api/socket';
import { stampOf, type Range } from './ranges';
import { courseOf, endOf, follow, type Course } from './series';

/** Which series. */
export type Wanted = Pick<QueryMetrics, 'of' | 'object' | 'filter' | 'metrics' | 'per_device'>;

/** What a host said last may come so late: its agent keeps it while the connection is broken. */
const LATE_S = 60;

async function ask(socket: Socket, wanted: Wanted, from: number, to: number | undefined, step = 0): Promise<Course> {
  const times = { from: stampOf(from), ...(to === undefined ? {} : { to: stampOf(to) }), ...(step ? { step_s: step } : {}) };
  return courseOf(await socket.call('metrics.query', { ...wanted, ...times }));
}

/** Only its end, where the rest is known. */
async function next(socket: Socket, wanted: Wanted, since: number, before: Course): Promise<Course | undefined> {
  const tail = endOf(before) - Math.max(LATE_S, before.step * 2);
  if (before.points === 0 || tail <= since) return undefined;
  const later = await ask(socket, wanted, tail, undefined, before.step);
  // Of an object that said nothing meanwhile there is no series, and so no grid.
  return later.lines.length > 0 ? follow(before, later, since) : undefined;
}

export function useCourse(wanted: Wanted, range: Range, until: number | undefined): UseQueryResult<Course, ApiError> {
  const socket = useSocket();
  const key = ['metrics.query', wanted, range.key, until ?? null];
  return useQuery<Course, ApiError>({
    queryKey: key,
    queryFn: async () => {
      const since = (until ?? Math.floor(Date.now() / 1000)) - range.seconds;
      const before = until === undefined ? queries.getQueryData<Course>(key) : undefined;
      const more = before && (await next(socket, wanted, since, before));
      return more ?? ask(socket, wanted, since, until);
    },
    refetchInterval: until === undefined ? range.every : false,
    refetchIntervalInBackground: false,
    placeholderData: (before, query) => (JSON.stringify(query?.queryKey[1]) === JSON.stringify(wanted) ? before : undefined),
  });
}
