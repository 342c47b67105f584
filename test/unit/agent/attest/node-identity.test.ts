import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';

import { IdentityError, isIdentityError } from '../../../../core/errors.ts';
import { PermissionDeniedDetails_Reason as Reason } from '../../../../proto/gen/spire/api/types/status_pb.ts';
import { AgentRig, codeOf, headers } from '../../../support/agent-rig.ts';
import { TestCa } from '../../../support/test-ca.ts';

let rig: AgentRig;
afterEach(() => rig[Symbol.asyncDispose]());

const attestations = (): number => rig.ca.calls.filter((name) => name === 'AttestAgent').length;
const endOf = async (): Promise<{ readonly code: string; readonly message: string }> => {
  try {
    await rig.agent.ended;
  } catch (error) {
    if (isIdentityError(error)) return error;
    throw error;
  }
  throw new Error('the agent ended without a failure');
};
const stateFile = (): string => join(rig.folder, 'data', 'agent.json');

describe('the first attestation', () => {
  test('waits for a CA that is not there yet', async () => {
    rig = await AgentRig.start({ prepare: (ca) => ca.down().then(() => {}) });
    await rig.pass(30_000);
    await rig.ca.up(rig.ca.port);
    await rig.until(async () => (await codeOf(rig.workload.fetchJWTBundles({}, { headers }))) === undefined, 1_000);
    expect((await rig.fetchX509()).svids).toHaveLength(1);
  });

  test('ends the agent when the CA does not know the token', async () => {
    rig = await AgentRig.start({ prepare: (ca) => ca.joinTokens.clear() });
    const error = await endOf();
    expect(error).toMatchObject({ code: 'invalid_argument' });
    expect(error.message).toContain('countersign token --write-to');
  });

  test('ends the agent when the token file is missing or empty', async () => {
    rig = await AgentRig.start({ config: { attestor: { joinTokenFile: './nowhere' } } });
    const error = await endOf();
    expect(error).toMatchObject({ code: 'failed_precondition' });
    // A log prints causes after the text: the reason stands there once.
    expect(error).not.toHaveProperty('cause');
    expect(error.message.match(/ENOENT/g)).toHaveLength(1);
  });

  test('attests nowhere as long as the CA is of another trust root', async () => {
    rig = await AgentRig.start({ prepare: (ca) => ca.down().then(() => {}) });
    await rig.stop();
    await writeFile(join(rig.folder, 'bundle.pem'), TestCa.create({ nowMs: rig.clock.nowMs() }).rootPem);
    await rig.ca.up();
    await rig.restart();
    await rig.pass(60_000);
    expect(rig.ca.calls).toEqual([]);
    expect(rig.ca.joinTokens.has('token-1')).toBe(true);
  });

  test.each([{ file: './bundle.pem' }, { insecure: true }])(
    'needs its token once, also when the CA fails right after the attestation (%j)',
    async (bootstrap) => {
      const failure = new IdentityError('unavailable', 'the store is down');
      rig = await AgentRig.start({ config: { bootstrap }, prepare: (ca) => void (ca.bundleFailure = failure) });
      await rig.pass(20_000);
      rig.ca.bundleFailure = undefined;
      await rig.until(async () => (await codeOf(rig.workload.fetchJWTBundles({}, { headers }))) === undefined, 1_000);
      expect(attestations()).toBe(1);
    },
  );

  test('trusts whoever calls itself the CA when told to bootstrap insecurely', async () => {
    rig = await (await AgentRig.start({ config: { bootstrap: { insecure: true } } })).ready();
    expect((await rig.fetchX509()).svids).toHaveLength(1);
  });
});

describe('state', () => {
  test('is kept for the agent’s user alone, and a restart resumes with it', async () => {
    rig = await (await AgentRig.start()).ready();
    await rig.restart();
    expect((await stat(stateFile())).mode & 0o777).toBe(0o600);
    await rig.ready();
    expect((await rig.fetchX509()).svids).toHaveLength(1);
    expect(attestations()).toBe(1);
  });

  test('holds no key when keys are kept in memory, so that a restart attests anew', async () => {
    rig = await (await AgentRig.start({ config: { keys: { kind: 'memory' } } })).ready();
    await rig.stop();
    expect(await readFile(stateFile(), 'utf8')).not.toContain('privateKey');
    rig.ca.joinTokens.add('token-1');
    await rig.restart();
    await rig.ready();
    expect(attestations()).toBe(2);
  });

  test('of another trust domain, or damaged, is not used and not overwritten', async () => {
    rig = await (await AgentRig.start()).ready();
    await rig.stop();
    await writeFile(stateFile(), '{"version":"1"');
    await rig.restart();
    expect(await endOf()).toMatchObject({ code: 'failed_precondition' });
    expect(await readFile(stateFile(), 'utf8')).toBe('{"version":"1"');
  });

  test('that is too old is replaced by a new attestation, also when the CA has another root by now', async () => {
    rig = await (await AgentRig.start()).ready();
    await rig.stop();
    rig.clock.advance(48 * 3_600_000);
    const port = await rig.ca.down();
    rig.ca.rotate();
    await rig.ca.up(port);
    rig.ca.joinTokens.add('token-1');
    await writeFile(join(rig.folder, 'bundle.pem'), rig.ca.rootPem);
    await rig.restart();
    await rig.ready();
    expect(attestations()).toBe(2);
  });
});

describe('renewal', () => {
  test('renews the SVID at half life and goes on with it after a restart', async () => {
    rig = await (await AgentRig.start()).ready();
    const before = await readFile(stateFile(), 'utf8');
    await rig.until(() => rig.ca.calls.includes('RenewAgent'), 4_000);
    await rig.until(async () => (await readFile(stateFile(), 'utf8')) !== before);
    await rig.restart();
    await rig.ready();
    expect(attestations()).toBe(1);
  });

  test('attests anew instead when the CA allows that', async () => {
    rig = await (await AgentRig.start({ prepare: (ca) => void (ca.isReattestable = true) })).ready();
    await rig.until(() => attestations() === 2, 4_000);
    expect(rig.ca.calls).not.toContain('RenewAgent');
  });

  test('that is refused does not end an agent whose SVID is still valid', async () => {
    rig = await (await AgentRig.start({ prepare: (ca) => void (ca.isReattestable = true) })).ready();
    rig.ca.attestationFailure = new IdentityError('permission_denied', 'the certificate of the node has expired');
    await rig.pass(45 * 60_000);
    expect((await rig.fetchX509()).svids).toHaveLength(1);
    rig.ca.attestationFailure = undefined;
    const before = await readFile(stateFile(), 'utf8');
    await rig.until(async () => (await readFile(stateFile(), 'utf8')) !== before, 1_000);
  });

  test('is tried until it works while the CA is away', async () => {
    rig = await (await AgentRig.start()).ready();
    const port = await rig.ca.down();
    await rig.pass(45 * 60_000);
    await rig.ca.up(port);
    await rig.until(() => rig.ca.calls.includes('RenewAgent'), 2_000);
  });
});

describe('denial', () => {
  test('a banned agent stops, says so and forgets its SVID', async () => {
    rig = await (await AgentRig.start()).ready();
    const port = await rig.ca.down();
    rig.ca.denial = Reason.AGENT_BANNED;
    await rig.ca.up(port);
    const ended = endOf();
    await rig.until(() => rig.ca.calls.includes('Watch'), 1_000);
    await rig.pass(5_000);
    expect(await ended).toMatchObject({ code: 'permission_denied' });
    expect((await ended).message).toContain('banned');
    expect(await readFile(stateFile(), 'utf8')).not.toContain('privateKey');
  });

  test('an evicted agent attests anew where it can', async () => {
    rig = await (await AgentRig.start({ prepare: (ca) => void (ca.isReattestable = true) })).ready();
    const port = await rig.ca.down();
    rig.ca.denial = Reason.AGENT_NOT_ATTESTED;
    await rig.ca.up(port);
    await rig.until(() => attestations() === 2, 1_000);
    rig.ca.denial = undefined;
    await rig.until(() => rig.ca.subscriptions.length === 2, 1_000);
  });

  test('an evicted agent with a used token stops and says what to do', async () => {
    rig = await (await AgentRig.start()).ready();
    const port = await rig.ca.down();
    rig.ca.denial = Reason.AGENT_NOT_ATTESTED;
    await rig.ca.up(port);
    const ended = endOf();
    await rig.until(() => attestations() === 2, 1_000);
    expect(await ended).toMatchObject({ code: 'permission_denied' });
    expect((await ended).message).toContain('join token');
  });
});
