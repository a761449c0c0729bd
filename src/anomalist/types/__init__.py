"""Records of pictures (`types.image`) and of video (`types.clip`), validated at construction."""
