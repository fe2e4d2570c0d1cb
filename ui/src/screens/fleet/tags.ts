// The tags that VMs have, from what the API offers for a filter that ends in `tag:`.

import type { Completion } from '../../api/generated';

export interface TagOffer {
  /** The term as the filter language takes it: `tag:prod`. */
  term: string;
  name: string;
  count: number;
}

export function tagsOf({ candidates }: Completion): TagOffer[] {
  return candidates.map(({ text, hint }) => {
    const name = text.startsWith('"') ? text.slice(1, -1).replace(/\\(.)/g, '$1') : text;
    return { term: `tag:${text}`, name, count: Number(hint) };
  });
}
