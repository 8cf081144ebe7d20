package fieldkey_test

// Known answers for the key 00 01 … 1f of patient/Ada at the site main, confirmed with another implementation (Python's hmac and cryptography).
const (
	knownCommitment = "d3e8c706eb3edfd1b1bf01cb7e11973d850b96c6ecb4a30df5b990c664b5d94a"
	knownDigest     = "fITMZAvLdI2yEMw_M93NuvtoiTIx2cbKOSsb7OpMXVw"
	knownUnique     = "0ee3b3d52bbccdf3e3905e6cab5b5815a8b76ffa3cedeb65e00eae4dd9732dfb"
	knownSealed     = "AQD1oC-20mOG8DQJ6lUTEdFw7RvKGWPBoWkgwPB49RqBHLQkeqHmfXpD"
	knownPacked     = "AQF_OLzPSbu5AHd60L1npItgHm4aIfrKHoME-sggOoCWm7VpsNaFvZkFoN6PJS6H4qk"
)
