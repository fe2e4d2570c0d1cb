// A file to a VDI, through the orchestrator: the host's certificate is none that a browser knows (docs/adr/0070).

import { Unreachable } from './errors';
import { refused } from './session';

/** How far the host is. */
export interface Mark {
  done: number;
  whole: boolean;
}

/** What an upload needs of the network; a test has another one. */
export interface Transport {
  look(vdi: string, signal: AbortSignal): Promise<Mark>;
  /** Sends the file from byte `from` on; `progress` is told how much of that has gone out. */
  send(vdi: string, file: Blob, from: number, progress: (sent: number) => void, signal: AbortSignal): Promise<Mark>;
}

const address = (vdi: string) => `/upload/${encodeURIComponent(vdi)}`;

export const overHttp: Transport = {
  async look(vdi, signal) {
    const response = await fetch(address(vdi), { method: 'POST', credentials: 'same-origin', signal }).catch(() => {
      throw new Unreachable();
    });
    const answer: unknown = await response.json().catch(() => null);
    if (!response.ok) throw refused(answer, response.status);
    return answer as Mark;
  },

  // `fetch` does not tell how much has gone out.
  send: (vdi, file, from, progress, signal) =>
    new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open('PUT', `${address(vdi)}?from=${from}&size=${file.size}`);
      request.responseType = 'json';
      request.upload.onprogress = ({ loaded }) => progress(loaded);
      request.onload = () => (request.status === 200 ? resolve(request.response as Mark) : reject(refused(request.response, request.status)));
      request.onerror = request.onabort = () => reject(new Unreachable());
      signal.addEventListener('abort', () => request.abort(), { once: true });
      request.send(file.slice(from));
    }),
};
