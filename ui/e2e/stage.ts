// A real orchestrator with simulated hosts, and a real browser in front of it.

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'node:https';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';

export const browserPath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const target = process.env.CARGO_TARGET_DIR ?? join(homedir(), '.cache/xenith/target');
export const programs = process.env.XENITH_PROGRAMS ?? join(target, 'debug');

/** Asked for by `make test`; by hand only where the programs were built. */
export const possible = !!process.env.XENITH_PROGRAMS || (existsSync(join(programs, 'xenith-run')) && existsSync(browserPath));

async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

export async function until<T>(what: string, look: () => Promise<T | undefined | false> | T | undefined | false, seconds = 60): Promise<T> {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise((go) => setTimeout(go, 50));
  }
}

const TYPES: Record<string, string> = { html: 'text/html', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml', woff2: 'font/woff2' };

async function fetchHeader(url: string, name: string): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const call = request(url, { rejectUnauthorized: false }, (response) => {
      response.resume();
      resolve(response.headers[name] as string | undefined);
    });
    call.on('error', reject);
    call.end();
  });
}

export class Stage {
  private constructor(
    readonly url: string,
    readonly password: string,
    private readonly child: ChildProcess,
    private readonly folder: string,
    readonly browser: Browser,
  ) {}

  private static browser(): Promise<Browser> {
    return chromium.launch({
      executablePath: browserPath,
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-features=LocalNetworkAccessChecks'],
    });
  }

  /** A real Xen host is emulated, and boots for minutes. */
  static async start(hosts = 2, kind: 'sim' | 'lab' = 'sim'): Promise<Stage> {
    const folder = mkdtempSync(join(tmpdir(), 'xenith-ui-'));
    let port = await freePort();
    // The simulated hosts listen beside it.
    while (port > 60_000) port = await freePort();
    const child = spawn(join(programs, 'xenith-run'), ['--kind', kind, '--hosts', String(hosts), '--port', String(port), '--data', folder], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    child.stdout?.on('data', (data) => (said += data));
    child.stderr?.on('data', (data) => (said += data));
    const ready = () => {
      if (child.exitCode !== null) throw new Error(`xenith-run ended: ${said}`);
      return /Ctrl-C stops/.test(said) && /user admin, password (\S+)/.exec(said)?.[1];
    };
    const password = await until('the orchestrator runs', ready, kind === 'sim' ? 90 : 1800);
    return new Stage(`https://127.0.0.1:${port}`, password, child, folder, await Stage.browser());
  }

  /** In front of an installation that `child` is, which ends with its input. */
  static async before(url: string, password: string, child: ChildProcess): Promise<Stage> {
    return new Stage(url, password, child, mkdtempSync(join(tmpdir(), 'xenith-ui-')), await Stage.browser());
  }

  /** Calls the API beside the browser, with the token that `make run` keeps. */
  async call<T = unknown>(method: string, params: object = {}): Promise<T> {
    const token = readFileSync(join(this.folder, 'run-token'), 'utf8').trim();
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
    const text = await new Promise<string>((resolve, reject) => {
      const headers = { 'content-type': 'application/json', authorization: `Bearer ${token}` };
      const call = request(`${this.url}/rpc`, { method: 'POST', headers, rejectUnauthorized: false }, (response) => {
        let text = '';
        response.on('data', (data) => (text += data));
        response.on('end', () => resolve(text));
      });
      call.on('error', reject);
      call.end(body);
    });
    const answer = JSON.parse(text) as { result?: T; error?: { message: string } };
    if (answer.error) throw new Error(`${method}: ${answer.error.message}`);
    return answer.result as T;
  }

  /** To the end of its task, which may take so long. */
  async run(method: string, params: object, seconds = 60): Promise<{ object?: string }> {
    const started = await this.call<{ task: string; object?: string }>(method, params);
    await until(`${method} is over`, async () => {
      const { status } = await this.call<{ status: string }>('task.get', { task: started.task });
      return status !== 'running' && status !== 'rolling-back';
    }, seconds);
    return started;
  }

  /** A folder of its own, which hosts reach: they run here. */
  place(name: string): string {
    const path = join(this.folder, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  small(name: string, more: object = {}): object {
    return {
      name,
      platform: { kind: 'pvh', boot: { kernel: 'lab-vmlinux' } },
      vcpus: { online: 1, max: 2 },
      memory: { target: 128, max: 256 },
      disks: [{ size: 1 << 30 }],
      nics: [{ network: 'default' }],
      ...more,
    };
  }

  /** A window of its own; what breaks the security policy, or throws, is gathered in `problems`. */
  async page(options: { width?: number; height?: number; dark?: boolean; lang?: string; contrast?: boolean; pseudo?: boolean } = {}): Promise<{ page: Page; problems: string[] }> {
    const { width = 1280, height = 800, dark = false, lang = 'en-GB', contrast = false, pseudo = false } = options;
    const context = await this.browser.newContext({
      ignoreHTTPSErrors: true,
      viewport: { width, height },
      colorScheme: dark ? 'dark' : 'light',
      locale: lang,
      reducedMotion: 'reduce',
      contrast: contrast ? 'more' : 'no-preference',
    });
    if (pseudo) await context.addInitScript(() => localStorage.setItem('xenith.language', 'pseudo'));
    if (process.env.UI_SITE) await this.fromFolder(context, process.env.UI_SITE);
    const page = await context.newPage();
    const problems: string[] = [];
    page.on('pageerror', (error) => problems.push(String(error)));
    page.on('console', (message) => {
      if (/Content Security Policy|Warning:|is not a valid/i.test(message.text())) problems.push(message.text());
    });
    page.on('request', (request) => {
      if (!request.url().startsWith(this.url) && !/^(blob|data):/.test(request.url())) problems.push(`asks ${request.url()}`);
    });
    page.setDefaultTimeout(60_000);
    return { page, problems };
  }

  /** For work on the looks: the site from a folder, without compiling the orchestrator anew. */
  private async fromFolder(context: BrowserContext, site: string) {
    const policy = (await fetchHeader(this.url, 'content-security-policy')) ?? '';
    await context.route(`${this.url}/**`, async (route) => {
      const { pathname } = new URL(route.request().url());
      if (route.request().method() !== 'GET' || /^\/(rpc|session|openrpc)/.test(pathname)) return route.fallback();
      const file = join(site, existsSync(join(site, pathname)) && pathname !== '/' ? pathname : 'index.html');
      await route.fulfill({ path: file, headers: { 'content-security-policy': policy, 'content-type': TYPES[file.split('.').pop() ?? ''] ?? '' } });
    });
  }

  async signIn(page: Page, name = 'admin', password = this.password) {
    await page.goto(this.url);
    await page.fill('#name', name);
    await page.fill('#password', password);
    await page.click('button[type=submit]');
    // Folded away on a phone.
    await page.waitForSelector('nav', { state: 'attached' });
  }

  async stop() {
    await this.browser.close();
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    if (this.child.stdin) this.child.stdin.end();
    else this.child.kill('SIGTERM');
    await ended;
    rmSync(this.folder, { recursive: true, force: true });
  }
}
