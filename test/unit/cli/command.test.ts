import { describe, expect, test } from 'vitest';
import { COMMANDS } from '../../../cli/commands.ts';
import { findCommand, parseInvocation, type Invocation } from '../../../cli/command.ts';
import { entryOfOptions, ttlOfOption } from '../../../cli/entry-fields.ts';
import { nearestCommand } from '../../../cli/suggestion.ts';
import { workloadAddress } from '../../../cli/workload-address.ts';
import { codeOf, thrownBy } from '../../support/thrown-by.ts';

const terminal = {
  cwd: '/home/user',
  environment: {},
  write: () => {},
  writeError: () => {},
  signal: new AbortController().signal,
};

function parse(line: string): Invocation {
  const words = line.split(' ');
  const command = findCommand(COMMANDS, words);
  if (command === undefined) throw new Error(`no command: ${line}`);
  return parseInvocation(command, words.slice(command.path.length), terminal);
}

describe('positional arguments', () => {
  test.each(['token foo bar', 'token generate foo', 'agent list x', 'entry count x', 'entry create x', 'bundle show x'])(
    'a stray word is refused: %s',
    (line) => {
      expect(codeOf(() => parse(line))).toBe('invalid_argument');
    },
  );

  test('a command without arguments and options refuses every word but those it names', () => {
    for (const command of COMMANDS.filter(({ positionals }) => positionals === undefined)) {
      const options = Object.entries(command.options).flatMap(([name, { required, value }]) =>
        required ? [`--${name}`, ...(value === undefined ? [] : ['x'])] : [],
      );
      expect(codeOf(() => parseInvocation(command, [...options, 'stray'], terminal))).toBe('invalid_argument');
    }
  });

  test('token generate is token', () => {
    expect(parse('token generate --ttl 60').text('ttl')).toBe('60');
  });

  test.each(['agent show', 'agent ban', 'agent evict'])('%s takes the ID with or without its option', (name) => {
    expect(parse(`${name} spiffe://example.org/a`).requiredText('spiffe-id')).toBe('spiffe://example.org/a');
    expect(parse(`${name} --spiffe-id spiffe://example.org/a`).requiredText('spiffe-id')).toBe('spiffe://example.org/a');
    expect(codeOf(() => parse(`${name} a b`))).toBe('invalid_argument');
    expect(codeOf(() => parse(`${name} --spiffe-id a b`))).toBe('invalid_argument');
    expect(codeOf(() => parse(name))).toBe('invalid_argument');
  });

  test('entry show takes one ID, entry delete several', () => {
    expect(parse('entry show x').text('entry-id')).toBe('x');
    expect(codeOf(() => parse('entry show x y'))).toBe('invalid_argument');
    expect(parse('entry delete x --entry-id z y').texts('entry-id')).toEqual(['z', 'x', 'y']);
  });
});

describe('nearestCommand', () => {
  test.each([
    ['tokn', 'token'],
    ['entyr', 'entry'],
    ['entyr show', 'entry show'],
    ['entry shwo --output json', 'entry show'],
    ['frobnicate', undefined],
    ['entry frobnicate', undefined],
    ['entry', undefined],
  ])('%s → %s', (line, expected) => {
    expect(nearestCommand(COMMANDS, line.split(' '))).toBe(expected);
  });
});

describe('values', () => {
  test.each(['99999d', '2147483648', '500ms', '1.5s', 'soon'])('a lifetime that no API can carry names its option: %s', (ttl) => {
    const error = thrownBy(() => ttlOfOption(parse(`token --ttl ${ttl}`), 'ttl'));
    expect(error).toMatchObject({ code: 'invalid_argument', field: '--ttl' });
    expect(thrownBy(() => entryOfOptions(parse(`entry create --x509-svid-ttl ${ttl}`)))).toMatchObject({
      code: 'invalid_argument',
      field: '--x509-svid-ttl',
    });
  });

  test('lifetimes and times that can be carried', () => {
    expect(
      entryOfOptions(parse('entry create --x509-svid-ttl 2147483647 --jwt-svid-ttl 1h30m --expires-at 2033-05-18T03:33:19Z')),
    ).toEqual({ x509SvidTtl: 2_147_483_647, jwtSvidTtl: 5400, expiresAt: 1_999_999_999n });
    expect(codeOf(() => entryOfOptions(parse('entry create --expires-at 99999999999999999999999')))).toBe('invalid_argument');
  });

  test.each(['tcp:1.2.3.4', 'tcp://example.org:80'])('a faulty --socket is named: %s', (socket) => {
    expect(thrownBy(() => workloadAddress(parse(`fetch x509 --socket ${socket}`)))).toMatchObject({
      code: 'invalid_argument',
      field: '--socket',
    });
  });

  test('a --socket is a path, a unix: or a tcp: address', () => {
    const address = (socket: string): string => workloadAddress(parse(`fetch x509 --socket ${socket}`));
    expect(address('run/api.sock')).toBe('unix:///home/user/run/api.sock');
    expect(address('unix:///run/api.sock')).toBe('unix:///run/api.sock');
    expect(address('tcp://127.0.0.1:8000')).toBe('tcp://127.0.0.1:8000');
  });
});
