// What a list of the API has in its address: the filter and the order. A link to it shows somebody else the same.

import { useCallback } from 'react';
import { useUrlState } from '../parts/url';

/** For a list that is ordered by `usual` (a column of the API, with `-` in front for descending) until another order is asked for. */
export function useListState(usual = 'name') {
  const [query, setQuery] = useUrlState('q');
  const [sort, setSort] = useUrlState('sort');
  const clear = useCallback(() => setQuery(null), [setQuery]);
  return {
    /** For the call. */
    wanted: { filter: query ?? '', sort: sort ?? '' },
    /** For the `QueryBar`. */
    bar: { value: query ?? '', set: setQuery },
    /** For the `ListView`. */
    list: { filtered: !!query, clear, sort: sort || usual, setSort },
  };
}
