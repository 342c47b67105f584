import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  DBUS_CALL,
  DBUS_RETURN,
  dbusMessageLength,
  decodeDbusMessage,
  encodeDbusMessage,
} from '../../../../agent/workload-attest/dbus-message.ts';
import { isIdentityError } from '../../../../core/errors.ts';

// What libdbus writes for the first call of every connection, with serial 1.
const HELLO = Buffer.from(
  [
    '6c01000100000000010000006d000000',
    '01016f00150000002f6f72672f667265656465736b746f702f44427573000000',
    '02017300140000006f72672e667265656465736b746f702e4442757300000000',
    '030173000500000048656c6c6f000000',
    '06017300140000006f72672e667265656465736b746f702e4442757300000000',
  ].join(''),
  'hex',
);

test('a call has the bytes that other implementations write', () => {
  const call = { kind: DBUS_CALL, serial: 1, path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus' };
  expect(encodeDbusMessage({ ...call, member: 'Hello', destination: 'org.freedesktop.DBus' }).toString('hex')).toBe(
    HELLO.toString('hex'),
  );
  expect(decodeDbusMessage(HELLO)).toMatchObject({ ...call, member: 'Hello', destination: 'org.freedesktop.DBus' });
  expect(dbusMessageLength(HELLO)).toBe(HELLO.length);
});

test('bodies come back as they were sent', () => {
  const message = { kind: DBUS_RETURN, serial: 9, replySerial: 7, signature: 'vosu', body: ['nginx.service', '/a', 'ü', 5] };
  const bytes = encodeDbusMessage(message);
  expect(dbusMessageLength(bytes)).toBe(bytes.length);
  expect(decodeDbusMessage(bytes)).toEqual(message);
});

test('big-endian messages are read as well', () => {
  const bytes = Buffer.from('4202000100000004000000090000000805017500000000070000002a', 'hex');
  expect(decodeDbusMessage(bytes)).toMatchObject({
    kind: DBUS_RETURN,
    serial: 9,
    replySerial: 7,
  });
});

test('a message is not measured before its fixed header is there, nor when it is too long', () => {
  expect(dbusMessageLength(HELLO.subarray(0, 15))).toBeUndefined();
  const long = Buffer.from(HELLO);
  long.writeUInt32LE(2 ** 31, 4);
  expect(() => dbusMessageLength(long)).toThrow(expect.objectContaining({ code: 'unavailable' }));
});

test('any bytes are read or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 200 }), fc.nat(199), (noise, cut) => {
      const mixed = Buffer.concat([HELLO.subarray(0, cut % HELLO.length), noise]);
      try {
        decodeDbusMessage(mixed);
      } catch (error) {
        return isIdentityError(error, 'unavailable');
      }
      return true;
    }),
  );
});
