import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Health, HealthCheckResponse_ServingStatus as Serving } from '../../../../proto/gen/grpc/health/v1/health_pb.ts';
import { Bundle } from '../../../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Debug } from '../../../../proto/gen/spire/api/server/debug/v1/debug_pb.ts';
import { LocalAuthority } from '../../../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import { Logger } from '../../../../proto/gen/spire/api/server/logger/v1/logger_pb.ts';
import { LogLevel } from '../../../../proto/gen/spire/api/types/logger_pb.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { RunningCa } from '../../../support/running-ca.ts';

let ca: RunningCa;
beforeAll(async () => {
  ca = await RunningCa.start();
});
afterAll(() => ca[Symbol.asyncDispose]());

describe('localauthority.v1', () => {
  const service = () => ca.local(LocalAuthority);
  const kinds = {
    JWT: {
      state: () => service().getJWTAuthorityState({}),
      prepare: () => service().prepareJWTAuthority({}),
      activate: (authorityId: string) => service().activateJWTAuthority({ authorityId }),
      taint: (authorityId: string) => service().taintJWTAuthority({ authorityId }),
      revoke: (authorityId: string) => service().revokeJWTAuthority({ authorityId }),
    },
    X509: {
      state: () => service().getX509AuthorityState({}),
      prepare: () => service().prepareX509Authority({}),
      activate: (authorityId: string) => service().activateX509Authority({ authorityId }),
      taint: (authorityId: string) => service().taintX509Authority({ authorityId }),
      revoke: (authorityId: string) => service().revokeX509Authority({ authorityId }),
    },
    WIT: {
      state: () => service().getWITAuthorityState({}),
      prepare: () => service().prepareWITAuthority({}),
      activate: (authorityId: string) => service().activateWITAuthority({ authorityId }),
      taint: (authorityId: string) => service().taintWITAuthority({ authorityId }),
      revoke: (authorityId: string) => service().revokeWITAuthority({ authorityId }),
    },
  };
  test.each([{ kind: 'JWT' }, { kind: 'X509' }, { kind: 'WIT' }] as const)(
    '[SPIRE localauthority.v1.Get$kindAuthorityState, Prepare, Activate, Taint, Revoke] an $kind authority lives its life',
    async ({ kind }) => {
      const { state, prepare, activate, taint, revoke } = kinds[kind];
      const { active: first } = await state();
      const firstId = first?.authorityId ?? '';
      const { preparedAuthority: prepared } = await prepare();
      const secondId = prepared?.authorityId ?? '';
      expect((await state()).prepared?.authorityId).toBe(secondId);
      expect(await failureOf(activate(''))).toMatchObject({ code: 'invalid_argument' });
      expect(await failureOf(activate('unknown'))).toMatchObject({ code: 'invalid_argument' });
      expect(await failureOf(taint(firstId))).toMatchObject({ code: 'invalid_argument' });
      expect((await activate(secondId)).activatedAuthority?.authorityId).toBe(secondId);
      const after = await state();
      expect([after.active?.authorityId, after.old?.authorityId]).toEqual([secondId, firstId]);
      expect((await taint(firstId)).taintedAuthority?.authorityId).toBe(firstId);
      expect((await revoke(firstId)).revokedAuthority?.authorityId).toBe(firstId);
      const { jwtAuthorities, witAuthorities, x509Authorities } = await ca.local(Bundle).getBundle({});
      expect([...jwtAuthorities, ...witAuthorities].map(({ keyId }) => keyId)).not.toContain(firstId);
      expect(x509Authorities).toHaveLength(1);
    },
  );

  test('[SPIRE localauthority.v1.TaintX509UpstreamAuthority, RevokeX509UpstreamAuthority] need an upstream', async () => {
    expect(await failureOf(service().taintX509UpstreamAuthority({ subjectKeyId: 'aa' }))).toMatchObject({
      code: 'failed_precondition',
    });
    expect(await failureOf(service().revokeX509UpstreamAuthority({ subjectKeyId: 'aa' }))).toMatchObject({
      code: 'failed_precondition',
    });
  });
});

describe('logger.v1', () => {
  test('[SPIRE logger.v1.GetLogger, SetLogLevel, ResetLogLevel] change the level while the CA runs', async () => {
    const logger = ca.local(Logger);
    const launch = await logger.getLogger({});
    expect(launch.currentLevel).toBe(launch.launchLevel);
    const fatal = await logger.setLogLevel({ newLevel: LogLevel.FATAL });
    expect(fatal.launchLevel).toBe(launch.launchLevel);
    expect((await logger.resetLogLevel({})).currentLevel).toBe(launch.launchLevel);
    expect(await failureOf(logger.setLogLevel({}))).toMatchObject({ code: 'invalid_argument' });
    // The cast is sound: an unknown number is what is tested.
    expect(await failureOf(logger.setLogLevel({ newLevel: 99 as LogLevel }))).toMatchObject({ code: 'invalid_argument' });
  });
});

describe('debug.v1', () => {
  test('[SPIRE debug.v1.GetInfo] tells of the CA and its own chain', async () => {
    const info = await ca.local(Debug).getInfo({});
    expect(info.federatedBundlesCount).toBe(1);
    expect(info.svidChain.map(({ id }) => id?.path)).toEqual(['/spire/server', '']);
    expect(info.svidChain[0]?.subject).toContain('O=');
  });
});

describe('health', () => {
  test('[gRPC health.v1.Check] serves', async () => {
    expect((await ca.local(Health).check({})).status).toBe(Serving.SERVING);
  });

  test('/readyz gives a reason for each check', async () => {
    const response = await fetch(`http://127.0.0.1:${ca.ca.httpPort}/readyz`);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      ready: true,
      checks: { store: { ok: true }, audit: { ok: true }, authorities: { ok: true } },
    });
    expect(await (await fetch(`http://127.0.0.1:${ca.ca.httpPort}/metrics`)).text()).toContain('countersign_rpc_handled_total');
  });
});
