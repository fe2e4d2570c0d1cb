// What a file is, by its first and last bytes: what a browser sends is kept as it is, so a file of another format would
// be a disk of nonsense.

/** Formats that the command line reads, and what has to be unpacked before. */
export type Format = { kind: 'image' | 'package' | 'packed'; name: string };

const HEAD = 512;

const STARTS: [bytes: string, format: Format][] = [
  ['QFI\xfb', { kind: 'image', name: 'qcow2' }],
  ['KDMV', { kind: 'image', name: 'VMDK' }],
  ['COWD', { kind: 'image', name: 'VMDK' }],
  ['# Disk DescriptorFile', { kind: 'image', name: 'VMDK' }],
  ['vhdxfile', { kind: 'image', name: 'VHDX' }],
  ['conectix', { kind: 'image', name: 'VHD' }],
  ['\x1f\x8b', { kind: 'packed', name: 'gzip' }],
  ['\xfd7zXZ', { kind: 'packed', name: 'xz' }],
  ['\x28\xb5\x2f\xfd', { kind: 'packed', name: 'zstd' }],
  ['BZh', { kind: 'packed', name: 'bzip2' }],
  ['PK\x03\x04', { kind: 'packed', name: 'ZIP' }],
];
/** Where a tar archive says that it is one; an OVA and an XVA are such. */
const TAR = [257, 'ustar'] as const;

const textOf = async (part: Blob) => [...new Uint8Array(await part.arrayBuffer())].map((byte) => String.fromCharCode(byte)).join('');

/** Nothing: a raw disk, an ISO image, or what nobody knows. */
export async function formatOf(file: Blob): Promise<Format | undefined> {
  const head = await textOf(file.slice(0, HEAD));
  const found = STARTS.find(([bytes]) => head.startsWith(bytes))?.[1];
  if (found) return found;
  if (head.startsWith(TAR[1], TAR[0])) return { kind: 'package', name: 'OVA' };
  // A VHD of fixed size says it at its end only.
  const tail = file.size > HEAD ? await textOf(file.slice(file.size - HEAD)) : '';
  return tail.startsWith('conectix') ? { kind: 'image', name: 'VHD' } : undefined;
}
