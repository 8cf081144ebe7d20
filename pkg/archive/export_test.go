package archive

import "time"

// OpenBucketFor is OpenBucket with another time for each request.
func OpenBucketFor(address BucketAddress, accessKey, secretKey string, patience time.Duration) (*Bucket, error) {
	return openBucket(address, accessKey, secretKey, patience)
}
