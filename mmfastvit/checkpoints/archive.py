"""The zip files that ``torch.save`` writes, held against their own checksums.

``torch.load`` has not compared the checksums since PyTorch 2.6, and unpacks
compressed members, which ``torch.save`` never writes, without a bound.
"""
import re
import struct
import zipfile
import zlib
from typing import BinaryIO

import torch
from mmengine.logging import print_log
from torch import Tensor

from mmfastvit.utils.errors import CheckpointError

from .limits import MAX_INDEX_BYTES, exceeded, quote

_LOCAL_HEADER_BYTES = 30


class Archive:
    """The members of a zip file, read one by one and as they are.

    Args:
        file: The file, open for reading.
        file_bytes: Its size.

    Raises:
        CheckpointError: It is damaged, or not as ``torch.save`` writes it.
    """

    def __init__(self, file: BinaryIO, file_bytes: int):
        _check_index(file, file_bytes)
        try:
            members = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, NotImplementedError, struct.error) as error:
            raise CheckpointError('its list of members is damaged '
                                  f'({error})') from error
        self.file = file
        self.members = {member.filename: member for member in members}
        self.has_checksums = any(member.CRC for member in members)
        if len(self.members) < len(members):
            raise CheckpointError('several of its members have one name')
        for member in members:
            if (member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1
                    or member.file_size != member.compress_size):
                raise CheckpointError(
                    f'its member {quote(member.filename)} is compressed or encrypted, '
                    'which torch.save never does: unpack the archive, pack it again '
                    'without compression (zip -0), or fetch the original')
        if sum(member.file_size for member in members) > file_bytes:
            raise CheckpointError('its members together are larger than the file')
        self.root = next((name.removesuffix('data.pkl') for name in self.members
                          if re.fullmatch('[^/]+/data.pkl', name)), None)
        if self.root is None or f'{self.root}constants.pkl' in self.members:
            raise CheckpointError(
                'it is a zip file of something else' if self.root is None else
                'it is a TorchScript archive, which holds code beside the weights')
        if not self.has_checksums:
            print_log(f'{file.name} was saved without checksums; whether it is '
                      'damaged cannot be told.', logger='current', level=30)

    def __contains__(self, name: str) -> bool:
        return f'{self.root}{name}' in self.members

    def read(self, name: str) -> Tensor:
        """Return the bytes of a member.

        Raises:
            CheckpointError: It is missing or damaged.
        """
        if name not in self:
            raise CheckpointError(f'its member {quote(name)} is missing')
        member = self.members[f'{self.root}{name}']
        # As in zipfile, but straight into the memory of the tensor.
        self.file.seek(member.header_offset)
        header = self.file.read(_LOCAL_HEADER_BYTES)
        if len(header) == _LOCAL_HEADER_BYTES and header.startswith(b'PK\3\4'):
            self.file.seek(sum(struct.unpack('<2H', header[26:])), 1)
            content = torch.empty(member.file_size, dtype=torch.uint8)
            raw = content.numpy()
            if self.file.readinto(raw) == len(raw) and (
                    not self.has_checksums or zlib.crc32(raw) == member.CRC):
                return content
        raise CheckpointError(f'its member {quote(name)} is damaged: its checksum is '
                              'another than the file says')


def _check_index(file: BinaryIO, file_bytes: int) -> None:
    """Look how long the list of members is, before zipfile reads it."""
    file.seek(max(0, file_bytes - 98))
    tail = file.read(98)
    end64, locator, end = tail[-98:-42], tail[-42:-22], tail[-22:]
    if not end.startswith(b'PK\5\6') or len(end) < 22:
        raise CheckpointError('it is cut short, or something follows its end')
    index_bytes, = struct.unpack('<L', end[12:16])
    if locator.startswith(b'PK\6\7'):  # in large files, and in all by torch.save
        if (struct.unpack('<Q', locator[8:16]) != (file_bytes - 98,)
                or not end64.startswith(b'PK\6\6')):
            raise CheckpointError('its list of members is damaged')
        index_bytes = max(index_bytes, *struct.unpack('<Q', end64[40:48]))
    if index_bytes > MAX_INDEX_BYTES:
        raise exceeded('a longer list of members', 'MAX_INDEX_BYTES')
