import { describe, expect, test } from 'vitest';
import { Current } from '../../../core/current.ts';

describe('a current value', () => {
  test('tells its listeners of each change, until they end it', () => {
    const current = new Current(1);
    const seen: number[] = [];
    const end = current.subscribe((value) => seen.push(value));
    current.set(2);
    current.set(2);
    current.set(3);
    end();
    current.set(4);
    expect(seen).toEqual([2, 3]);
    expect(current.value).toBe(4);
  });

  test('lets a listener end itself while it is told', () => {
    const current = new Current(0);
    const seen: string[] = [];
    const end = current.subscribe(() => {
      seen.push('first');
      end();
    });
    current.subscribe(() => seen.push('second'));
    current.set(1);
    current.set(2);
    expect(seen).toEqual(['first', 'second', 'second']);
  });

  test('is read as a stream that begins with the present value', async () => {
    const current = new Current('a');
    const stop = new AbortController();
    const changes = current.changes(stop.signal);
    expect(await changes.next()).toEqual({ done: false, value: 'a' });
    current.set('b');
    expect(await changes.next()).toEqual({ done: false, value: 'b' });
    const next = changes.next();
    current.set('c');
    expect(await next).toEqual({ done: false, value: 'c' });
    stop.abort();
    expect(await changes.next()).toEqual({ done: true, value: undefined });
  });

  test('skips for a slow reader what has been replaced, never the newest', async () => {
    const current = new Current(0);
    const stop = new AbortController();
    const changes = current.changes(stop.signal);
    await changes.next();
    for (let value = 1; value <= 1000; value++) current.set(value);
    expect((await changes.next()).value).toBe(1000);
    stop.abort();
  });

  test('ends a waiting stream without an error when its signal aborts', async () => {
    const stop = new AbortController();
    const changes = new Current(0).changes(stop.signal);
    await changes.next();
    const waiting = changes.next();
    stop.abort(new Error('reason'));
    expect(await waiting).toEqual({ done: true, value: undefined });
  });

  test('of an aborted signal has no changes', async () => {
    expect(await new Current(0).changes(AbortSignal.abort()).next()).toEqual({ done: true, value: undefined });
  });

  test('is left by a reader that has seen enough', async () => {
    const current = new Current(0);
    for await (const value of current.changes(new AbortController().signal)) {
      if (value === 0) current.set(1);
      else break;
    }
    expect(current.value).toBe(1);
  });
});
