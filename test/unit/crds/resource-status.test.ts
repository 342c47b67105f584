import { describe, expect, test } from 'vitest';
import { decode } from '../../../core/decode.ts';
import { identityStatus, plainStatus, readStatus, staticStatus } from '../../../crds/resource-status.ts';
import type { ResourceStatus } from '../../../crds/resource-status.ts';

const ready = { type: 'Ready', status: 'True', reason: 'Issued', message: '', lastTransitionTime: '2026-01-31T12:00:00Z' };

describe('status', () => {
  test('what is absent is zero', () => {
    const status: ResourceStatus = decode(identityStatus.decoder, { conditions: [ready], stats: { podsSelected: 2 } });
    expect(status).toEqual({
      observedGeneration: undefined,
      conditions: [{ ...ready, observedGeneration: undefined }],
      stats: {
        namespacesSelected: 0,
        namespacesIgnored: 0,
        podsSelected: 2,
        podEntryRenderFailures: 0,
        entriesMasked: 0,
        entriesToSet: 0,
        entryFailures: 0,
      },
    });
  });

  test('of a static identity', () => {
    const status: ResourceStatus = decode(staticStatus.decoder, { observedGeneration: 2, set: true });
    expect(status).toEqual({ observedGeneration: 2, conditions: [], rendered: false, masked: false, set: true });
  });

  test('one that cannot be read is none', () => {
    expect(readStatus(plainStatus, {})).toBeUndefined();
    expect(readStatus(plainStatus, { status: { conditions: 7 } })).toBeUndefined();
    expect(readStatus(plainStatus, { status: { ofALaterVersion: 7 } })).toBeUndefined();
    expect(readStatus(plainStatus, { status: { observedGeneration: 7 } })).toMatchObject({ observedGeneration: 7 });
  });
});
