import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { KubeClient } from '../../../../runtime/kubernetes/client.ts';
import { EventRecorder, type KubeEvent } from '../../../../runtime/kubernetes/events.ts';
import { json, StandInApi, status } from '../../../support/kubernetes/stand-in-api.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

let api: StandInApi;
let client: KubeClient;
let clock: ManualClock;
let stop: AbortController;
let recorder: EventRecorder;

beforeEach(async () => {
  api = await StandInApi.start((_request, response) => json(response, 201, { metadata: {} }));
  clock = new ManualClock();
  client = api.client(clock);
  stop = new AbortController();
  recorder = new EventRecorder({
    client,
    clock,
    log: pino({ level: 'silent' }),
    controller: 'countersign.dev/controller',
    instance: 'pod-1',
    signal: stop.signal,
  });
});

afterEach(async () => {
  stop.abort();
  client[Symbol.dispose]();
  await api[Symbol.asyncDispose]();
});

function event(overrides: Partial<KubeEvent> = {}, name = 'p'): KubeEvent {
  const regarding = { apiVersion: 'v1', kind: 'Pod', name, namespace: 'team', uid: `uid-${name}` };
  return { regarding, type: 'Warning', reason: 'TemplateFailed', action: 'RenderIdentity', note: 'no such field', ...overrides };
}

const bodies = (): unknown[] => api.seen.map(({ body }): unknown => JSON.parse(body));

describe('the recorder of events', () => {
  it('writes one in the namespace of its object', async () => {
    recorder.record(event());
    await recorder.idle();
    expect(api.seen[0]?.url.pathname).toBe('/apis/events.k8s.io/v1/namespaces/team/events');
    expect(bodies()).toMatchObject([
      {
        kind: 'Event',
        eventTime: '2026-01-01T00:00:00.000000Z',
        reportingController: 'countersign.dev/controller',
        reportingInstance: 'pod-1',
        regarding: { kind: 'Pod', name: 'p', uid: 'uid-p' },
        type: 'Warning',
        reason: 'TemplateFailed',
        action: 'RenderIdentity',
        note: 'no such field',
      },
    ]);
  });

  it('counts what is repeated, in one write for a burst', async () => {
    for (let times = 0; times < 5; times += 1) recorder.record(event());
    await recorder.idle();
    expect(api.seen.map(({ method }) => method)).toEqual(['POST']);
    clock.advance(30_000);
    await recorder.idle();
    expect(api.seen.map(({ method }) => method)).toEqual(['POST', 'PATCH']);
    expect(bodies()[1]).toEqual({ series: { count: 5, lastObservedTime: '2026-01-01T00:00:30.000000Z' } });
    clock.advance(7 * 60_000);
    recorder.record(event());
    await recorder.idle();
    expect(api.seen.at(-1)?.method).toBe('POST');
  });

  it('writes an event anew that the server has forgotten', async () => {
    recorder.record(event());
    await recorder.idle();
    recorder.record(event());
    api.answer = ({ method }, response) =>
      method === 'PATCH' ? json(response, 404, status(404, 'NotFound', 'gone')) : json(response, 201, { metadata: {} });
    clock.advance(30_000);
    await recorder.idle();
    expect(api.seen.map(({ method }) => method)).toEqual(['POST', 'PATCH', 'POST']);
    expect(recorder.dropped).toBe(0);
  });

  it('gives each object a rate', async () => {
    for (let at = 0; at < 25; at += 1) recorder.record(event({ note: `problem ${at}` }));
    recorder.record(event({}, 'other'));
    await recorder.idle();
    expect([api.seen.length, recorder.dropped]).toEqual([11, 15]);
    clock.advance(2 * 60_000);
    for (let at = 0; at < 5; at += 1) recorder.record(event({ note: `later ${at}` }));
    await recorder.idle();
    expect(api.seen.length).toBe(13);
  });

  it('drops and counts while the server is away, and never blocks or throws', async () => {
    api.answer = (_request, response) => json(response, 503, status(503, 'ServiceUnavailable', 'away'));
    for (let at = 0; at < 1_200; at += 1) recorder.record(event({}, `p${at}`));
    expect(recorder.dropped).toBe(199);
    await expect.poll(() => recorder.dropped).toBe(200);
    stop.abort();
    await recorder.idle();
  });

  it('goes on after one that the server refuses', async () => {
    api.answer = (_request, response) => {
      api.answer = (_next, answer) => json(answer, 201, { metadata: {} });
      json(response, 422, status(422, 'Invalid', 'bad'));
    };
    recorder.record(event());
    recorder.record(event({}, 'q'));
    await recorder.idle();
    expect([api.seen.length, recorder.dropped]).toEqual([2, 1]);
  });

  it('cuts a note to what the API allows, between characters', async () => {
    recorder.record(event({ note: '€'.repeat(500) }));
    await recorder.idle();
    const [sent] = bodies() as { note: string }[];
    expect(Buffer.byteLength(sent?.note ?? '')).toBeLessThanOrEqual(1_024);
    expect(sent?.note).toMatch(/^€+…$/);
  });
});
