import { describe, expect, test } from 'vitest';
import { findWorkloadEndpoint, parseWorkloadEndpoint } from '../../../client/endpoint.ts';
import { codeOf } from '../../support/thrown-by.ts';

describe('the address of a Workload API', () => {
  test.each([
    ['unix:///run/agent.sock', { kind: 'unix', path: '/run/agent.sock' }],
    ['unix:/run/agent.sock', { kind: 'unix', path: '/run/agent.sock' }],
    ['tcp://127.0.0.1:8000', { kind: 'tcp', host: '127.0.0.1', port: 8000 }],
    ['tcp://[::1]:8000', { kind: 'tcp', host: '::1', port: 8000 }],
  ])('[Workload Endpoint §4] may be %s', (address, endpoint) => {
    expect(parseWorkloadEndpoint(address)).toEqual(endpoint);
  });

  test.each([
    'http://127.0.0.1:8000',
    '/run/agent.sock',
    'unix://host/run/agent.sock',
    'unix:run/agent.sock',
    'unix:',
    'unix:///run/agent.sock?x=1',
    'unix:///run/agent.sock#x',
    'tcp://localhost:8000',
    'tcp://127.0.0.1',
    'tcp://127.0.0.1:8000/',
    'tcp://127.0.0.1:8000/path',
    'tcp://user@127.0.0.1:8000',
    'tcp://127.0.0.1:70000',
    '',
  ])('[Workload Endpoint §4] is refused: %j', (address) => {
    expect(codeOf(() => parseWorkloadEndpoint(address))).toBe('invalid_argument');
  });

  test('[Workload Endpoint §4] comes from the environment variable unless it is configured', () => {
    const environment = { SPIFFE_ENDPOINT_SOCKET: 'unix:///run/from-environment.sock' };
    expect(findWorkloadEndpoint(undefined, environment)).toMatchObject({ path: '/run/from-environment.sock' });
    expect(findWorkloadEndpoint('unix:///run/given.sock', environment)).toMatchObject({ path: '/run/given.sock' });
    expect(codeOf(() => findWorkloadEndpoint(undefined, {}))).toBe('invalid_argument');
  });
});
