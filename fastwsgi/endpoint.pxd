cimport cython

from ._parser cimport Parser as CParser
from ._serializer cimport Serializer as CSerializer


@cython.final
cdef class Endpoint:
    cdef readonly CParser parser
    cdef readonly CSerializer serializer
    cdef readonly dict base
    cdef readonly object limits
    cdef readonly long long spool_at
    cdef readonly object open_spool, open_tunnel, region_of, log, trusts, proxy_protocol
    cdef readonly double header_timeout, body_timeout, write_timeout, keepalive
    cdef readonly bint streams
    cdef public bint keeps_alive
    cdef public object transmit, heartbeat, complain
