import type { ServerResponse } from 'node:http';

import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { KubeClient } from '../../../../runtime/kubernetes/client.ts';
import { CONFIG_MAPS } from '../../../../runtime/kubernetes/resource-types.ts';
import { watchResource, type ResourceWatch } from '../../../../runtime/kubernetes/watch.ts';
import { json, StandInApi, status, type SeenRequest } from '../../../support/kubernetes/stand-in-api.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

/** A server with objects, whose lists and watches a test may spoil. */
class Objects {
  readonly #versions = new Map<string, number>();
  #version = 10;
  watches: ServerResponse[] = [];
  spoilList: ((response: ServerResponse) => boolean) | undefined;
  spoilWatch: ((response: ServerResponse) => boolean) | undefined;

  put(name: string): void {
    const type = this.#versions.has(name) ? 'MODIFIED' : 'ADDED';
    this.#versions.set(name, (this.#version += 1));
    this.send({ type, object: this.#object(name, this.#version) });
  }

  remove(name: string): void {
    this.#versions.delete(name);
    this.send({ type: 'DELETED', object: this.#object(name, (this.#version += 1)) });
  }

  /** Puts or removes an object without telling the watches. */
  silently(change: () => void): void {
    const watches = this.watches;
    this.watches = [];
    change();
    this.watches = watches;
  }

  send(event: unknown): void {
    for (const watch of this.watches) watch.write(`${JSON.stringify(event)}\n`);
  }

  endWatches(how: (watch: ServerResponse) => void): void {
    const watches = this.watches;
    this.watches = [];
    watches.forEach(how);
  }

  answer({ url }: SeenRequest, response: ServerResponse): void {
    if (url.searchParams.get('watch') !== null) {
      if (this.spoilWatch?.(response) === true) return;
      response.writeHead(200).flushHeaders();
      this.watches.push(response);
      return;
    }
    if (this.spoilList?.(response) === true) return;
    const names = [...this.#versions.keys()].sort();
    const limit = Number(url.searchParams.get('limit'));
    const from = Number(url.searchParams.get('continue') ?? 0);
    const next = from + limit < names.length ? { continue: String(from + limit) } : {};
    const items = names.slice(from, from + limit).map((name) => this.#object(name, this.#versions.get(name) ?? 0));
    json(response, 200, { metadata: { resourceVersion: String(this.#version), ...next }, items });
  }

  #object(name: string, version: number): unknown {
    return { metadata: { namespace: 'ns', name, resourceVersion: String(version) } };
  }
}

let api: StandInApi;
let client: KubeClient;
let objects: Objects;
let clock: ManualClock;
let stop: AbortController;
let told: string[];
let watch: ResourceWatch;
const known = new Map<string, string>();
let suffix = '';

function start(): void {
  watch = watchResource({
    client,
    type: CONFIG_MAPS,
    pageSize: 2,
    trim: ({ metadata }) => {
      if (metadata.name === 'bad') throw new Error('trim fails');
      return `${metadata.resourceVersion}${suffix}`;
    },
    handler: {
      put(value, key) {
        told.push(`put ${key}@${value}`);
        known.set(key, value);
      },
      remove(key) {
        told.push(`remove ${key}`);
        known.delete(key);
      },
      synced: () => void told.push('synced'),
    },
    clock,
    log: pino({ level: 'silent' }),
    signal: stop.signal,
    random: () => 0.5,
  });
}

beforeEach(async () => {
  objects = new Objects();
  api = await StandInApi.start((request, response) => objects.answer(request, response));
  clock = new ManualClock();
  client = api.client(clock);
  stop = new AbortController();
  told = [];
  suffix = '';
  known.clear();
});

afterEach(async () => {
  stop.abort('end of the test');
  await watch.ended;
  client[Symbol.dispose]();
  await api[Symbol.asyncDispose]();
});

/** Waits until the watch stands, so that the next event reaches it. */
async function watching(): Promise<void> {
  await expect.poll(() => objects.watches.length, { interval: 5 }).toBe(1);
}

/** Lets waiting pass until something holds. */
async function letPass(holds: () => boolean, byMs = 500): Promise<void> {
  await expect
    .poll(
      () => {
        if (!holds()) clock.advance(byMs);
        return holds();
      },
      { interval: 5 },
    )
    .toBe(true);
}

describe('a watch', () => {
  it('tells everything that is there, page by page, then every change in order', async () => {
    for (const name of ['a', 'b', 'c']) objects.put(name);
    start();
    await watch.synced;
    await watching();
    objects.put('d');
    objects.put('a');
    objects.remove('b');
    await expect.poll(() => told.length).toBe(7);
    expect(told).toEqual(['put ns/a@11', 'put ns/b@12', 'put ns/c@13', 'synced', 'put ns/d@14', 'put ns/a@15', 'remove ns/b']);
    expect(watch.size).toBe(3);
  });

  it('tries again at once when it is told that the server answers, once for each outage', async () => {
    objects.put('a');
    start();
    await watching();
    let lists = 0;
    objects.spoilWatch = (response) => {
      lists += 1;
      response.destroy();
      return true;
    };
    objects.endWatches((each) => each.destroy());
    await letPass(() => lists >= 5);
    const before = lists;
    watch.hasten();
    await expect.poll(() => lists).toBe(before + 1);
    await expect.poll(() => watch.outage.value).toBeDefined();
    watch.hasten();
    objects.spoilWatch = undefined;
    await letPass(() => objects.watches.length === 1, 100);
    expect(lists).toBe(before + 1);
  });

  it('resumes at the last version that it saw, bookmarks included', async () => {
    objects.put('a');
    start();
    await watching();
    objects.send({ type: 'BOOKMARK', object: { metadata: { resourceVersion: '99' } } });
    objects.endWatches((each) => each.end());
    await letPass(() => objects.watches.length === 1);
    expect(api.seen.map(({ url }) => url.searchParams.get('resourceVersion'))).toEqual([null, '11', '99']);
    expect(told).toEqual(['put ns/a@11', 'synced']);
  });

  it.each([
    ['as an answer', (response: ServerResponse) => json(response, 410, status(410, 'Expired', 'too old'))],
    [
      'as an event',
      (response: ServerResponse) =>
        void response.writeHead(200).end(`${JSON.stringify({ type: 'ERROR', object: status(410, 'Expired', 'too old') })}\n`),
    ],
    [
      'as a version of the future',
      (response: ServerResponse) =>
        json(
          response,
          504,
          status(504, 'Timeout', 'Too large resource version', { causes: [{ reason: 'ResourceVersionTooLarge' }] }),
        ),
    ],
  ])('lists anew when its version has expired, told %s, and removes what vanished', async (_how, expire) => {
    for (const name of ['a', 'b', 'c']) objects.put(name);
    start();
    await watching();
    objects.silently(() => {
      objects.remove('b');
      objects.put('c');
    });
    objects.spoilWatch = (response) => {
      objects.spoilWatch = undefined;
      expire(response);
      return true;
    };
    told = [];
    objects.endWatches((each) => each.destroy());
    await letPass(() => told.includes('synced'));
    expect(told).toEqual(['put ns/c@15', 'remove ns/b', 'synced']);
  });

  it('lists anew when versions go back', async () => {
    objects.put('a');
    start();
    await watching();
    objects.send({ type: 'BOOKMARK', object: { metadata: { resourceVersion: '9' } } });
    await letPass(() => told.filter((each) => each === 'synced').length === 2);
  });

  it('puts all again when told to restart, with the new trim, also in the middle of a list', async () => {
    for (const name of ['a', 'b', 'c']) objects.put(name);
    start();
    await watching();
    suffix = '+';
    watch.restart();
    objects.watches = [];
    let lists = 0;
    objects.spoilList = () => {
      // The second page of the first list: restarted while it is under way.
      if ((lists += 1) === 2) {
        suffix = '++';
        watch.restart();
      }
      return false;
    };
    await expect.poll(() => told.filter((each) => each === 'synced').length).toBe(2);
    expect([...known.values()]).toEqual(['11++', '12++', '13++']);
  });

  it('goes on where it was after an outage, with a growing wait', async () => {
    objects.put('a');
    start();
    await watching();
    objects.spoilWatch = (response) => {
      json(response, 503, status(503, 'ServiceUnavailable', 'starting'));
      return true;
    };
    objects.endWatches((each) => each.destroy());
    const asked = (): number => api.seen.length;
    await letPass(() => asked() >= 6);
    expect(watch.outage.value).toMatchObject({ reason: expect.stringContaining('starting') as string });
    const waits: number[] = [];
    for (let before = asked(); waits.length < 4; before = asked()) {
      // A request under way has a longer timer of its own.
      await expect.poll(() => clock.nextTimerMs, { interval: 5 }).toBeLessThan(100_000);
      waits.push(clock.nextTimerMs ?? 0);
      await letPass(() => asked() > before, 1_000);
    }
    expect(waits).toEqual([...waits].sort((a, b) => a - b));
    objects.spoilWatch = undefined;
    await letPass(() => objects.watches.length === 1, 5_000);
    await expect.poll(() => watch.outage.value).toBeUndefined();
    expect(told).toEqual(['put ns/a@11', 'synced']);
  });

  it('loses nothing when a list breaks off in the middle', async () => {
    for (const name of ['a', 'b', 'c']) objects.put(name);
    let lists = 0;
    objects.spoilList = (response) => {
      if ((lists += 1) !== 2) return false;
      response.writeHead(200).write('{"items":[{"metadata":{"name":"half', () => response.destroy());
      return true;
    };
    start();
    await letPass(() => told.includes('synced'));
    expect([...known.keys()]).toEqual(['ns/a', 'ns/b', 'ns/c']);
    expect(told.filter((each) => each === 'put ns/a@11').length).toBe(1);
  });

  it.each([
    '<html>\n',
    '7\n',
    '{"type":"NEWS","object":{}}\n',
    '{"type":"ADDED","object":{"metadata":{}}}\n',
    '{"type":"ADDED"\n',
  ])('is not misled by %j', async (garbage) => {
    start();
    await watching();
    for (const each of objects.watches) each.write(garbage);
    await expect.poll(() => watch.outage.value).toBeDefined();
    objects.watches = [];
    await letPass(() => objects.watches.length === 1);
    objects.put('a');
    await expect.poll(() => told).toEqual(['synced', 'put ns/a@11']);
  });

  it('does not wait for ever for a list or a watch that is never answered', async () => {
    objects.put('a');
    objects.spoilList = () => true;
    start();
    await expect.poll(() => api.seen.length).toBe(1);
    objects.spoilList = undefined;
    objects.spoilWatch = () => true;
    await letPass(() => told.includes('synced'), 5_000);
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(60_000);
    await expect.poll(() => api.seen.at(-1)?.url.searchParams.get('watch')).toBe('true');
    objects.spoilWatch = undefined;
    await letPass(() => objects.watches.length === 1, 5_000);
  });

  it('takes a connection that stays silent for dead', async () => {
    start();
    await watching();
    clock.advance(149_000);
    objects.put('a');
    await expect.poll(() => told.length).toBe(2);
    clock.advance(149_000);
    expect(objects.watches.length).toBe(1);
    objects.watches = [];
    await letPass(() => objects.watches.length === 1, 1_000);
  });

  it('leaves out an object that cannot be taken over, and tells the others', async () => {
    for (const name of ['a', 'bad', 'c']) objects.put(name);
    start();
    await watch.synced;
    expect([...known.keys()]).toEqual(['ns/a', 'ns/c']);
  });

  it('ends with its signal, and tells nothing afterwards', async () => {
    start();
    await watching();
    objects.put('a');
    stop.abort('enough');
    await watch.ended;
    const count = told.length;
    objects.put('b');
    expect(told.length).toBe(count);
  });

  it('that never came to a list rejects with the reason of the abort', async () => {
    objects.spoilList = (response) => {
      json(response, 403, status(403, 'Forbidden', 'may not'));
      return true;
    };
    start();
    await expect.poll(() => watch.outage.value?.reason).toContain('may not');
    stop.abort('enough');
    await expect(watch.synced).rejects.toBe('enough');
  });
});
